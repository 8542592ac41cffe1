import json
from dataclasses import replace

import numpy as np
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.data_summary import data_summary

FIELDS = [
    "n_total", "n_train", "n_val", "n_test", "split_ratios", "text_present_rate", "target_log_mean", "target_log_std",
    "target_raw_mean", "target_raw_p50", "target_raw_p90", "metadata_missing_rate", "numeric_feature_stats",
    "horizon_days", "horizon_definition", "leakage_columns_checked",
]  # fmt: skip


@pytest.fixture
def document(pair, data):
    return data_summary(pair, data)


def test_contract_fields_and_valid_json(document):
    assert set(FIELDS) <= set(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_counts_and_targets(document, data):
    assert [document[f"n_{part}"] for part in ("total", "train", "val", "test")] == [40, 28, 6, 6]
    assert document["split_ratios"] == {"train": 0.7, "val": 0.15, "test": 0.15}
    raw = data.rows["target_raw"]
    assert document["target_raw_p90"] == pytest.approx(np.percentile(raw, 90))
    assert document["target_log_std"] == pytest.approx(np.log1p(raw).std(ddof=0))
    assert document["text_present_rate"] == pytest.approx(data.rows["text_present"].sum() / 40)


def test_missing_rates_cover_every_feature(document, data):
    assert document["metadata_missing_rate"] == {
        "subscribers": pytest.approx(np.isnan(data.features["subscribers"]).sum() / 40),
        "empty": 1.0,
        "country": 0.25,
    }


def test_feature_stats_are_of_the_known_values(document, data):
    known = data.features["subscribers"].dropna()
    stats = document["numeric_feature_stats"]["subscribers"]
    assert (stats["n"], stats["missing"]) == (len(known), 40 - len(known))
    assert stats["p90"] == pytest.approx(known.quantile(0.9))
    assert [stats["min"], stats["max"]] == [known.min(), known.max()]
    assert stats["std"] == pytest.approx(known.std(ddof=0))
    assert document["numeric_feature_stats"]["empty"] == {
        "n": 0, "missing": 40, "mean": None, "std": None, "min": None, "p50": None, "p90": None, "max": None,
    }  # fmt: skip


def test_dropped_rows_are_told_by_stage_and_reason(document):
    assert document["dropped"] == {"metadata": {"no_label": 3, "superseded": 2}, "join": {}}


def test_cost_of_the_assembly_is_told_by_table(document):
    assert document["assembly"] == {"modalities": {"objects": 120, "seconds": 0.5}}


def test_columns_outside_of_the_contract_are_told_with_their_fate(document):
    assert document["unreadable_cells"] == {"subscribers": 2}
    assert document["unreadable_examples"] == {"subscribers": "many"}
    assert document["unused_columns"] == {"mood": {"readable": 1, "unreadable": 9, "flaw": "unreadable"}}
    assert document["absent_columns"] == ["channel_age_days"]
    assert document["unknown_columns"] == {"digg_count": {"became": "excluded", "why": "the audience's response"}}
    assert {"digg_count", "view_count", "horizon_view_count", "age_days"} <= set(document["leakage_columns_checked"])
    assert not {"channel_view_count", "subscribers"} & set(document["leakage_columns_checked"])


def test_a_part_without_rows_counts_zero(pair, data):
    document = data_summary(pair, replace(data, rows=data.rows.assign(split="train")))
    assert [document["n_train"], document["n_val"], document["n_test"]] == [40, 0, 0]


def test_features_of_other_rows_are_refused(pair, data):
    with pytest.raises(DataError, match="got 39 feature rows and 40 split rows, in run r1, concat 7d"):
        data_summary(pair, replace(data, features=data.features.iloc[1:]))
    with pytest.raises(DataError, match="got 0 feature rows and 0 split rows"):
        data_summary(pair, replace(data, rows=data.rows.iloc[:0], features=data.features.iloc[:0]))
