"""The complete runs of the bucket: those whose gate has left its record."""

import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.storage import Store

_GATE = "gate"
_SELECTIONS = ("strategies", "horizons", "models")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompleteRun:
    """A complete run of any release.

    Attributes:
        run_id: its id.
        resolved_at: when it was resolved, which is when it pinned its inputs.
        strategies: the fusion strategies it asked for, whose manifests say which videos it had.
        horizons: the horizons it asked for, in days.
        is_whole: whether it asked for every strategy, horizon and family that the default params ask for.
    """

    run_id: str
    resolved_at: datetime
    strategies: frozenset[str]
    horizons: frozenset[int]
    is_whole: bool


def complete_runs(store: Store) -> list[CompleteRun]:
    """Every complete run, newest first.

    Raises:
        TransientError: the server cannot be reached.
    """
    tasks = filter(None, (keys.run_and_task(info.key) for info in store.list(keys.RUNS)))
    configs = {keys.run_config(run_id): run_id for run_id, task in tasks if task == _GATE}
    return sorted(_parsed(store, configs), key=lambda run: (run.resolved_at, run.run_id), reverse=True)


def text_present_of_newest(store: Store, strategies: Collection[str], now: datetime) -> float | None:
    """Fraction of the videos that had a text vector in the newest complete run that tells it; None if none does.

    Only runs of the same strategies count, because others have other videos, and none that a wrong clock resolved later
    than ``now``.
    """
    for run in complete_runs(store):
        if run.strategies != frozenset(strategies) or run.resolved_at > now:
            continue
        key = keys.run_record(run.run_id, keys.task_id("reconstruct_modalities"))
        fetched = dict(store.get_many([key]))[key]
        try:
            record = json.loads(b"{}" if fetched is None else fetched.body)
            return float(record["text_present"] / record["rows"])
        except (ValueError, TypeError, KeyError, ZeroDivisionError):
            continue  # a record of a release that did not count them
    return None


def _parsed(store: Store, configs: dict[str, str]) -> Iterator[CompleteRun]:
    for key, fetched in store.get_many(configs):
        run = None if fetched is None else _run(configs[key], fetched.body)
        if run is None:
            # Somebody deletes this run right now, or broke it: it proves nothing, and must not hide the others.
            log.warning("expected a config with resolved_at and params, got none, in %s: not counted", store.uri(key))
        else:
            yield run


def _run(run_id: str, body: bytes) -> CompleteRun | None:
    """A complete run out of a config of any release; None where it cannot be told."""
    try:
        config: Any = json.loads(body)
        resolved_at = datetime.fromisoformat(config["resolved_at"])
        asked = {name: set(config["params"][name]) for name in _SELECTIONS}
    except (ValueError, TypeError, KeyError):
        return None
    wanted = RunParams().model_dump(mode="json")
    return CompleteRun(
        run_id=run_id,
        resolved_at=resolved_at if resolved_at.tzinfo else resolved_at.replace(tzinfo=UTC),
        strategies=frozenset(asked["strategies"]),
        horizons=frozenset(asked["horizons"]),
        is_whole=all(set(wanted[name]) <= asked[name] for name in _SELECTIONS),
    )
