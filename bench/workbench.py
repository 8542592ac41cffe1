"""What every row is given: sizes, data sets, a console, and the measurements that rows share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
from obstore.store import S3Store
from rich.console import Console

from bench.buckets import Buckets, DataSet
from bench.plan import Plan
from clipfarm_tasks.stack.seaweed import REGION, SeaweedServer

_T = TypeVar("_T")


@dataclass
class Workbench:
    """One benchmark under way.

    Attributes:
        plan: sizes.
        buckets: data sets.
        folder: an empty folder for temporary files.
        console: where progress goes.
    """

    plan: Plan
    buckets: Buckets
    folder: Path
    console: Console
    _measured: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, measure: Callable[[], _T]) -> _T:
        """What ``measure`` returned when it was first asked for under this name."""
        if name not in self._measured:
            self._measured[name] = measure()
        return cast("_T", self._measured[name])

    @property
    def server(self) -> SeaweedServer:
        """The S3 server of all data sets."""
        return self.buckets.server

    def assembly_set(self) -> DataSet:
        """The data set of the cold, warm and incremental rows."""
        plan = self.plan
        real = self.buckets.real() if plan.real else None
        return real or self.buckets.synthetic(plan.assembly_videos, plan.width)

    def boto_client(self) -> Any:
        """A boto3 client as a first script has it: all defaults."""
        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint_url,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
            region_name=REGION,
        )

    def plain_client(self, data_set: DataSet) -> S3Store:
        """A bare obstore client of a data set's bucket: no retries, no counting."""
        return S3Store(
            data_set.store.bucket,
            endpoint=self.server.endpoint_url,
            access_key_id=self.server.access_key,
            secret_access_key=self.server.secret_key,
            region=REGION,
            client_options={"allow_http": True},
        )

    def say(self, text: str) -> None:
        """One line of progress within a row."""
        self.console.print(f"  {text}", highlight=False)
