"""``maintain``: what it says, and that it does what it says."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.cli.maintenance_table import maintenance_table
from clipfarm_tasks.contracts import MaintenanceParams, MaintenanceRecord, TableMaintenance
from clipfarm_tasks.vectors.table import VectorTable, vectors

UPKEEP = TableMaintenance(
    fragments_removed=12,
    fragments_added=3,
    versions_dropped=45,
    versions_kept=67,
    versions_pinned=8,
    pins_lost=9,
    bytes_freed=1234 * 2**20 + 2**19,
)


def rendered(**params):
    record = MaintenanceRecord(
        params=MaintenanceParams(**params), runs=365, tables={"modalities": UPKEEP, "fused_sum_pool": UPKEEP}
    )
    output = io.StringIO()
    Console(file=output, width=80).print(maintenance_table(record))
    return output.getvalue()


def test_one_whole_line_for_each_table():
    lines = [line.split() for line in rendered().splitlines()]
    numbers = ["12", "3", "45", "67", "8", "9", "1,234.5"]
    assert [line for line in lines if line[1:] == numbers] == [["modalities", *numbers], ["fused_sum_pool", *numbers]]


@pytest.mark.parametrize("dry", [False, True])
def test_the_title_says_what_was_asked_for(dry):
    title = rendered(keep_days=77, dry_run=dry)
    assert "365 kept runs" in title
    assert "77 days" in title
    assert ("nothing was changed" in title) is dry


@pytest.fixture
def table(store):
    table = VectorTable(store, keys.modalities_table())
    for number in range(3):
        table.merge(pa.table({"video_id": [f"v{number}"], "vector": vectors(np.ones((1, 4), np.float32))}))
    return table


@pytest.mark.integration
def test_maintain_compacts_and_keeps_what_is_young(command, bucket, table):
    dry = command("maintain", "--keep-days", "1", "--dry-run", CLIPFARM_BUCKET=bucket.bucket)
    assert dry.returncode == 0, dry.stderr
    assert "Dry run" in dry.stdout
    assert table.version() == 3
    done = command("maintain", CLIPFARM_BUCKET=bucket.bucket)
    assert done.returncode == 0, done.stderr
    assert "30 days" in done.stdout
    [line] = [line.split() for line in done.stdout.splitlines() if "modalities" in line]
    assert line == ["modalities", "3", "1", "0", "3", "0", "0", "0.0"]
    assert len(table.open(None).get_fragments()) == 1
    assert len(table.open(2).to_table(columns=["video_id"])) == 2


@pytest.mark.integration
def test_an_unreadable_record_and_wrong_days_end_with_one_sentence(command, bucket, store, table):
    few = command("maintain", "--keep-days", "0", CLIPFARM_BUCKET=bucket.bucket)
    assert few.returncode == 2
    assert few.stderr.startswith("ConfigError: maintenance parameters: keep_days: ")
    key = keys.run_record("r", "reconstruct_modalities")
    store.put(key, json.dumps({"version": "x"}).encode())
    refused = command("maintain", CLIPFARM_BUCKET=bucket.bucket)
    assert refused.returncode == 2
    assert f"modalities: {store.uri(key)}" in refused.stderr
    assert "Traceback" not in few.stderr + refused.stderr
    assert table.version() == 3
