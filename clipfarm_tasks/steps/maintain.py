"""Keep the vector tables small and quick: compact them, drop versions that no kept run pins and nobody looks at."""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MaintenanceParams, MaintenanceRecord, TableMaintenance
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors.maintenance import maintain_table
from clipfarm_tasks.vectors.pinned_versions import pinned_versions
from clipfarm_tasks.vectors.table import VectorTable

log = logging.getLogger(__name__)


def maintain(store: Store, params: Mapping[str, Any]) -> MaintenanceRecord:
    """Maintain every vector table there is. Runs may go on meanwhile, and a second maintenance too.

    Raises:
        ConfigError: a parameter is wrong, or the bucket cannot be used.
        DataError: a record of a kept run does not tell which version it pins. Its tables were left alone, the others
            were maintained.
        TransientError: the server cannot be reached.
    """
    chosen = MaintenanceParams.parse(params)
    # Before the records are read: a run that records its versions later has looked for them less than a day ago.
    superseded_before = datetime.now(UTC) - timedelta(days=chosen.keep_days)
    pins = pinned_versions(store)
    log.info("maintain: start, %d kept runs pin versions of %s", pins.runs, ", ".join(sorted(pins.by_table)) or "none")
    done: dict[str, TableMaintenance] = {}
    left_alone: list[str] = []
    for key in [keys.modalities_table(), *map(keys.fused_table, Strategy)]:
        name = keys.table_name(key)
        if name in pins.unreadable:
            left_alone.append(f"{name}: {', '.join(pins.unreadable[name])}")
            continue
        start = time.perf_counter()
        table = maintain_table(
            VectorTable(store, key), pins.by_table.get(name, {}), superseded_before, dry_run=chosen.dry_run
        )
        if table is not None:
            done[name] = table
            log.info("maintain: %s in %.1f s: %s", name, time.perf_counter() - start, table.model_dump_json())
    if left_alone:
        raise DataError(
            "expected records that tell which table version they pin, got others, so these tables were left alone: "
            f"{'; '.join(left_alone)}. Delete or mend the records, or delete their runs"
        )
    return MaintenanceRecord(params=chosen, runs=pins.runs, tables=done)
