"""The data sets of the benchmark: each in a bucket of its own on one S3 server, written once and then reused."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
from rich.console import Console

from bench.baseline import latest_rows
from bench.errors import named_boto_errors
from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.stack.airflow_server import REPOSITORY
from clipfarm_tasks.stack.seaweed import SeaweedServer
from clipfarm_tasks.storage import Store, open_store

_LOADER = REPOSITORY.parent / "shared" / "data" / "load_short_videos.py"
_SHOWN = 500  # characters of what a failed loader said
_OURS = ("clipfarm/vectors/", "clipfarm/runs/", "clipfarm/models/")


@dataclass(frozen=True)
class DataSet:
    """One filled bucket.

    Attributes:
        label: what it holds, for the table.
        store: the bucket.
        environment: variables with which other processes find it.
    """

    label: str
    store: Store
    environment: dict[str, str]

    def clear(self) -> None:
        """Delete everything the pipeline wrote, so that the next assembly is a cold one."""
        for prefix in _OURS:
            self.store.delete(info.key for info in self.store.list(prefix))


class Buckets:
    """The data sets on a running server, by name."""

    def __init__(self, server: SeaweedServer, console: Console) -> None:
        """Use ``server``; say on ``console`` what is written and how long it takes."""
        self.server = server
        self._console = console
        self._filled: dict[str, DataSet] = {}

    def synthetic(self, videos: int, width: int) -> DataSet:
        """The synthetic set of that size."""
        label = f"{videos:,} synthetic videos, {width} wide"

        def fill(data_set: DataSet) -> DataSet:
            write_sample(data_set.store, videos=videos, width=width)
            return data_set

        return self._get(f"synthetic-{videos}-{width}", label, fill)

    def real(self) -> DataSet | None:
        """The real set; None where it is not beside the checkout.

        Raises:
            DataError: its loader fails; shows the end of what it says.
        """
        return self._get("real", "the real set", _load) if _LOADER.exists() else None

    def _get(self, name: str, label: str, fill: Callable[[DataSet], DataSet]) -> DataSet:
        if name not in self._filled:
            began = time.perf_counter()
            with named_boto_errors(f"the new bucket {name}"):
                self.server.client().create_bucket(Bucket=name)
            environment = self.server.environment() | {"CLIPFARM_BUCKET": name}
            data_set = fill(DataSet(label, open_store(Settings.from_environment(environment)), environment))
            self._console.print(f"  wrote {data_set.label} in {time.perf_counter() - began:.1f} s", highlight=False)
            self._filled[name] = data_set
        return self._filled[name]


def _load(data_set: DataSet) -> DataSet:
    """Run the loader; the label counts the videos that the fused manifests name."""
    endpoint = data_set.environment["AWS_ENDPOINT_URL"]
    command = [sys.executable, str(_LOADER), "--bucket", data_set.store.bucket, "--endpoint", endpoint]
    done = subprocess.run(command, env=os.environ | data_set.environment, check=False, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split())[-_SHOWN:]
        raise DataError(f"expected {_LOADER.name} to fill the bucket, got exit code {done.returncode}: {said}")
    bodies = [io.BytesIO(data_set.store.get(keys.fused_manifest(strategy))) for strategy in Strategy]
    videos = pd.concat([latest_rows(body) for body in bodies])["video_id"].nunique()
    return replace(data_set, label=f"{videos:,} real videos")
