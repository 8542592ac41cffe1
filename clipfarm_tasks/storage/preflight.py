"""Probe the bucket the way a run will use it, and say in plain words what is wrong."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ClipfarmError, ConfigError, DataError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.storage import Store

_WRITTEN = 2  # findings after which the probe object exists
_AT_ONCE = 8
_OTHER_ETAG = f'"{"0" * 32}"'


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: what, whether it works, and if not, what to do about it and which exit code that is."""

    what: str
    ok: bool
    advice: str = ""
    exit_code: int = 0


def check(store: Store) -> list[Finding]:
    """Try listing, writing, a conditional write, reading and deleting, then look for the input.

    Stops at the first thing that everything after it depends on.
    """
    key, body = keys.probe(uuid.uuid4().hex), b"clipfarm probe"
    written = [key, f"{key}-race", f"{key}-copy"]
    findings = []
    for what, attempt in (
        (f"bucket {store.bucket} exists and can be listed", store.check_bucket),
        ("write an object", lambda: store.put(key, body)),
        ("conditional write (If-None-Match) is honoured", lambda: _expect_refusal(store, key)),
        ("conditional write (If-Match) is honoured", lambda: _expect_swap(store, key, body)),
        ("of creates at once one wins", lambda: _expect_one_winner(store, f"{key}-race")),
        ("read it back", lambda: _expect_same(store, key, body)),
        ("copy it on the server", lambda: store.copy(key, f"{key}-copy")),
        ("delete them", lambda: store.delete(written)),
    ):
        findings.append(_try(what, attempt))
        if not findings[-1].ok:
            if len(findings) > _WRITTEN:
                _try("leave nothing behind", lambda: store.delete(written))
            return findings
    inputs = [keys.METADATA_CSV, *(keys.fused_manifest(strategy) for strategy in Strategy)]
    return findings + [_present(store, name) for name in inputs]


def _try(what: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except ClipfarmError as error:
        return Finding(what, ok=False, advice=str(error), exit_code=error.exit_code)
    return Finding(what, ok=True)


def _expect_refusal(store: Store, key: str) -> None:
    if store.create(key, b"another content"):
        raise ConfigError(
            "expected a second conditional write to be refused, got accepted: this server ignores If-None-Match, and "
            "two workers could publish the same snapshot; use a server that honours it"
        )


def _expect_swap(store: Store, key: str, body: bytes) -> None:
    """Replace the object with itself: that of another ETag must be refused, that of its own accepted."""
    current = store.head(key)
    if store.swap(key, b"another content", _OTHER_ETAG):
        raise ConfigError(
            "expected a write for another ETag to be refused, got accepted: this server ignores If-Match, and two "
            "writers could overwrite each other's document; use a server that honours it"
        )
    if current is None or not store.swap(key, body, current.etag):
        raise ConfigError(f"expected a write for the current ETag to be accepted, got refused, in {store.uri(key)}")


def _expect_one_winner(store: Store, key: str) -> None:
    """Create one object from several threads: a server that looks before it writes lets more than one of them win."""
    bodies = [b"content %d" % number for number in range(_AT_ONCE)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        won = sum(pool.map(partial(store.create, key), bodies))
    if won != 1:
        raise ConfigError(
            f"expected one of {_AT_ONCE} conditional writes at once to win, got {won}: two workers could publish the "
            "same snapshot; use a server that decides this atomically (of SeaweedFS a version after 4.16)"
        )


def _expect_same(store: Store, key: str, body: bytes) -> None:
    received = store.get(key)
    if received != body:
        raise ConfigError(f"expected {body!r}, got {received!r}, in {store.uri(key)}: a proxy or cache is in between")


def _present(store: Store, key: str) -> Finding:
    what = f"input {key}"
    if store.head(key) is None:
        advice = f"expected upstream's object at {store.uri(key)}, got none"
        return Finding(what, ok=False, advice=advice, exit_code=DataError.exit_code)
    return Finding(what, ok=True)
