"""Where Lance asks for credentials again before those it has expire."""

import time
from collections.abc import Callable, Mapping

from lance_namespace import DescribeTableRequest, DescribeTableResponse, LanceNamespace

_ASKED_EVERY_S = 60.0  # botocore renews well before the end, but only when it is asked


class OneTable(LanceNamespace):
    """A namespace of one table at a fixed address, of which Lance asks only how to reach it."""

    def __init__(self, uri: str, access: Callable[[], Mapping[str, str]]) -> None:
        """``access`` gives the storage options of the moment."""
        self._uri = uri
        self._access = access

    def namespace_id(self) -> str:
        """What tells this namespace from others in Lance's caches."""
        return self._uri

    def storage_options(self) -> dict[str, str]:
        """The storage options of the moment, with the time after which Lance asks again."""
        return {**self._access(), "expires_at_millis": str(round((time.time() + _ASKED_EVERY_S) * 1000))}

    def describe_table(self, _: DescribeTableRequest) -> DescribeTableResponse:
        """Called by Lance."""
        return DescribeTableResponse(location=self._uri, storage_options=self.storage_options())
