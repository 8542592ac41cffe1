"""What both reconstruct steps leave behind beside the table."""

import pyarrow as pa

from clipfarm_tasks import keys
from clipfarm_tasks.steps.record_vectors import record_vectors
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.quarantine import Quarantined, Reason
from clipfarm_tasks.vectors.table import VectorTable
from clipfarm_tasks.vectors.update import Updated


def test_quarantined_rows_are_listed_in_one_order_whatever_order_they_come_in(upstream, run):
    upstream.upload()
    run.resolve(max_quarantined_fraction=1.0)
    bad = [
        Quarantined("b", "k/1", Reason.EMPTY_OBJECT, "no bytes"),
        Quarantined("a", "k/2", Reason.NOT_FINITE, "NaN"),
        Quarantined("a", "k/1", Reason.TRUNCATED, "cut"),
    ]
    rows = pa.table({"video_id": ["c"]})
    VectorTable(run.store, keys.modalities_table()).merge(rows)
    record = record_vectors(run.context, keys.modalities_table(), Updated(1, rows, bad, 0), rows, Meter(run.store))
    listed = run.frame(record.quarantine_key)
    assert listed.columns.tolist() == ["video_id", "key", "reason", "detail"]
    assert listed.to_numpy().tolist() == [
        ["a", "k/1", "truncated", "cut"],
        ["a", "k/2", "not_finite", "NaN"],
        ["b", "k/1", "empty_object", "no bytes"],
    ]
