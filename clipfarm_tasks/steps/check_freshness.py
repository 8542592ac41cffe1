"""Is the newest complete run that trained everything fresh?"""

import logging
import math
from datetime import UTC, datetime

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import FreshnessRecord
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.steps.complete_runs import complete_runs
from clipfarm_tasks.storage import Store

_SKEW_HOURS = 0.1  # clocks of two machines may be this far apart

log = logging.getLogger(__name__)


def check_freshness(store: Store, limit_hours: float, now: datetime | None = None) -> FreshnessRecord:
    """Find the newest complete run of the bucket that asked for all the default params ask for, and its age.

    A run of one job that somebody starts by hand does not count: it would hide that the nights are missing.

    A run is as old as the inputs it pinned, so its age counts from ``resolved_at`` of its config. Not from the gate
    record's LastModified: clearing an old gate would make an old run fresh. Not from ``as_of``: a run by hand for a
    date of last month is made of today's inputs, and a night that starts ten hours late of those of the morning.

    Args:
        store: the bucket.
        limit_hours: oldest age that passes, in hours.
        now: time to count back from; default: the clock.

    Raises:
        ConfigError: the limit is no positive number.
        DataError: the newest such run is older than the limit or was resolved in the future, or there is none.
        TransientError: the server cannot be reached.
    """
    if not 0 < limit_hours < math.inf:
        raise ConfigError(f"expected a limit of more than 0 hours, got {limit_hours}")
    now, runs = now or datetime.now(UTC), store.uri(keys.RUNS)
    complete = complete_runs(store)
    whole = [run for run in complete if run.is_whole]
    if not whole:
        raise DataError(
            f"expected a complete run of all strategies, horizons and models, got none, in {runs}: "
            f"{len(complete)} complete runs asked for less"
        )
    newest = whole[0]
    age_hours = (now - newest.resolved_at).total_seconds() / 3600
    log.info("check_freshness: %d complete runs, %.1f h since %s", len(complete), age_hours, newest)
    if age_hours < -_SKEW_HOURS:
        raise DataError(
            f"expected a run of the past, got {newest.run_id} as the newest, resolved at "
            f"{newest.resolved_at.isoformat()}, which is {-age_hours:.1f} h after {now.isoformat()}, in {runs}: the "
            "clock of the machine that resolved it was ahead, or the clock of this one is behind"
        )
    if age_hours > limit_hours:
        raise DataError(
            f"expected a complete run of the last {limit_hours:g} h, got {newest.run_id} as the newest, resolved "
            f"{age_hours:.1f} h ago, in {runs}: later runs did not start, failed, go on, or asked for less than that"
        )
    return FreshnessRecord(run_id=newest.run_id, age_hours=round(max(age_hours, 0), 3), limit_hours=limit_hours)
