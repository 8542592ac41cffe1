"""Which keys of a manifest are upstream's: what leads anywhere else in the bucket is never asked for."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason

_SEGMENT = r"(?:\.*[^/.][^/]*|\.{3,})"  # neither empty nor a way out of the folder


class UpstreamKeys:
    """The folders that a manifest's keys may lead to."""

    def __init__(self, prefixes: str) -> None:
        """Take ``Settings.upstream_prefixes``."""
        self._prefixes = prefixes
        folders = "|".join(re.escape(prefix) for prefix in prefixes.split(","))
        self._pattern = rf"^(?:{folders})(?:{_SEGMENT}/)*{_SEGMENT}$"

    def inside(self, names: pa.ChunkedArray) -> pa.ChunkedArray:
        """(N,) string: the same keys, empty where one leads elsewhere."""
        return pc.if_else(pc.match_substring_regex(names, self._pattern), names, "")

    def check(self, key: str) -> None:
        """Refuse a key that leads elsewhere.

        Raises:
            BadVectorError: it does; names it.
        """
        if not re.search(self._pattern, key):
            raise BadVectorError(Reason.FOREIGN_KEY, f"expected a key below {self._prefixes}, got {key}")
