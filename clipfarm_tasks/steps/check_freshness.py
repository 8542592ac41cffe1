"""Is the newest complete run fresh? Complete is a run whose gate has left its record."""

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import FreshnessRecord
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.storage import Store

_GATE = "gate"

log = logging.getLogger(__name__)


def check_freshness(store: Store, limit_hours: float, now: datetime | None = None) -> FreshnessRecord:
    """Find the newest complete run of the bucket and its age.

    A run is as old as the inputs it pinned, so its age counts from ``resolved_at`` of its config. Not from the gate
    record's LastModified: clearing an old gate would make an old run fresh. Not from ``as_of``: a run by hand for a
    date of last month is made of today's inputs, and a night that starts ten hours late of those of the morning.

    Args:
        store: the bucket.
        limit_hours: oldest age that passes, in hours.
        now: time to count back from; default: the clock.

    Raises:
        ConfigError: the limit is no positive number.
        DataError: the newest complete run is older than the limit, or there is none.
        TransientError: the server cannot be reached.
    """
    if not 0 < limit_hours < math.inf:
        raise ConfigError(f"expected a limit of more than 0 hours, got {limit_hours}")
    runs = store.uri(keys.RUNS)
    resolved = _resolved_at(store)
    if not resolved:
        raise DataError(f"expected a complete run, got none, in {runs}")
    run_id = max(resolved, key=lambda run: (resolved[run], run))
    age_hours = ((now or datetime.now(UTC)) - resolved[run_id]).total_seconds() / 3600
    log.info("check_freshness: %d complete runs, the newest is %s, %.1f h old", len(resolved), run_id, age_hours)
    if age_hours > limit_hours:
        raise DataError(
            f"expected a complete run of the last {limit_hours:g} h, got {run_id} as the newest, resolved "
            f"{age_hours:.1f} h ago, in {runs}: later runs did not start, failed, or go on"
        )
    return FreshnessRecord(run_id=run_id, age_hours=round(age_hours, 3), limit_hours=limit_hours)


def _resolved_at(store: Store) -> dict[str, datetime]:
    """When each complete run was resolved, by run id."""
    tasks = filter(None, (keys.run_and_task(info.key) for info in store.list(keys.RUNS)))
    complete = {keys.run_config(run_id): run_id for run_id, task in tasks if task == _GATE}
    found: dict[str, datetime] = {}
    for key, fetched in store.get_many(complete):
        when = None if fetched is None else _time(fetched.body)
        if when is None:
            # Somebody deletes this run right now, or broke it: it proves nothing, and must not hide the others.
            log.warning("expected a config with resolved_at, got none, in %s: run not counted", store.uri(key))
        else:
            found[complete[key]] = when
    return found


def _time(body: bytes) -> datetime | None:
    """``resolved_at`` out of a config of any release; None where it cannot be told."""
    try:
        config: Any = json.loads(body)
        when = datetime.fromisoformat(config["resolved_at"])
    except (ValueError, TypeError, KeyError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
