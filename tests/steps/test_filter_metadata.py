import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError, DataError, MissingObjectError
from clipfarm_tasks.families import Horizon


def filtered(run, horizon=Horizon.D7):
    run.step("scan_metadata")
    return run.step("filter_metadata", horizon=horizon)


def test_keeps_the_latest_usable_row_of_each_video(upstream, run):
    older = upstream.metadata.head(3).assign(captured_at="2026-03-01T00:00:00Z", horizon_view_count=1)
    unlabelled = upstream.metadata.head(1).assign(video_id="vid900", horizon_view_count=np.nan)
    upstream.metadata = pd.concat([upstream.metadata, older, unlabelled])
    upstream.upload()
    run.resolve()
    record = filtered(run)
    frame = run.frame(record.key)
    expected = upstream.metadata.iloc[:24].sort_values("video_id")
    assert frame["video_id"].tolist() == expected["video_id"].tolist()
    assert frame["target_raw"].tolist() == expected["horizon_view_count"].tolist()
    np.testing.assert_allclose(frame["target_log"], np.log(expected["horizon_view_count"] + 1))
    assert record.rows == 24
    assert record.dropped == {"other_horizon": 24, "superseded_capture": 3, "missing_label": 1}
    report = run.json(record.report_key)
    assert report["rows_read"] == 52
    assert report["dropped"] == record.dropped
    assert report["features"]["excluded_leakage"] == ["horizon_days", "horizon_view_count", "view_count"]
    assert not {"view_count", "horizon_view_count"} & set(frame.columns)


def test_same_csv_gives_the_same_bytes(upstream, run):
    upstream.upload()
    run.resolve(horizons=[30])
    records = [filtered(run, Horizon.D30) for _ in range(2)]
    assert records[0] == records[1]


def test_scanned_rows_that_are_not_those_recorded_are_refused(upstream, run, store):
    upstream.upload()
    run.resolve()
    scanned = run.step("scan_metadata").horizons[Horizon.D7]
    body = bytearray(store.get(scanned.key))
    body[len(body) // 2] ^= 1
    store.put(scanned.key, bytes(body))
    with pytest.raises(DataError, match=f"expected sha256 {scanned.sha256}, got .*{scanned.key}: clear scan_metadata"):
        run.step("filter_metadata", horizon=Horizon.D7)


def test_needs_the_scan(upstream, run):
    upstream.upload()
    run.resolve()
    with pytest.raises(MissingObjectError, match="expected scan_metadata to have finished, got no record at"):
        run.step("filter_metadata", horizon=Horizon.D7)


def test_no_rows_of_the_horizon(upstream, run):
    upstream.metadata = upstream.metadata[upstream.metadata["horizon_days"] == 7]
    upstream.upload()
    run.resolve(horizons=[7, 30])
    assert filtered(run).rows == 24
    with pytest.raises(DataError, match=rf"horizon_days = 30, got horizons \[7\], in s3://.*{keys.METADATA_CSV}"):
        run.step("filter_metadata", horizon=Horizon.D30)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"video_id,horizon_days,horizon_view_count\nv,seven,1\n", "horizon_days = 7, got horizons"),
        (b"video_id,horizon_days,horizon_view_count\nv,7,many\n", "usable horizon_view_count, got none"),
    ],
)
def test_a_horizon_that_cannot_be_used_is_named_with_its_rule(upstream, run, body, message):
    upstream.raw[keys.METADATA_CSV] = body
    upstream.upload()
    run.resolve()
    run.step("scan_metadata")
    with pytest.raises(DataError, match=message) as info:
        run.step("filter_metadata", horizon=Horizon.D7)
    assert keys.METADATA_CSV in str(info.value)


def test_rough_csv_loads_what_the_rules_allow(upstream, run):
    upstream.raw[keys.METADATA_CSV] = (
        b"\xef\xbb\xbfvideo_id,horizon_days,horizon_view_count,captured_at,title,channel_country\r\n"
        b'a,7,10,yesterday,"two\r\nlines, ""quoted""",US\r\n'
        b"b,7,-5,2026-03-01,\xff\xfe,\xff\r\n"
        b"c,7\r\n"
        b"d,7,ten,2026-03-01,x,US\r\n"
    )
    upstream.upload()
    run.resolve(max_lost_fraction=0.5)
    record = filtered(run)
    frame = run.frame(record.key).set_index("video_id")
    assert frame["target_raw"].to_dict() == {"a": 10.0, "b": 0.0}
    assert frame["channel_country"].isna().to_dict() == {"a": False, "b": True}
    assert record.dropped == {"ragged_row": 1, "unparsable_label": 1}
    unreadable = ("captured_at", "channel_country", "title_non_ascii", "title_uppercase", "title_words")
    assert run.json(record.report_key)["unreadable"] == dict.fromkeys(unreadable, 1)


@pytest.fixture
def with_unknown_columns(upstream):
    count = len(upstream.metadata)
    upstream.metadata = upstream.metadata.assign(
        digg_count=range(count), bitrate=range(count), codec="av1", **{"Unnamed: 0": range(count)}
    )
    upstream.upload()


def test_the_report_tells_what_became_of_every_unknown_column(with_unknown_columns, run):
    run.resolve()
    features = run.json(filtered(run).report_key)["features"]
    assert {name: fate["became"] for name, fate in features["unknown_columns"].items()} == {
        "digg_count": "excluded",
        "bitrate": "numeric feature",
        "codec": "dropped",
        "Unnamed: 0": "dropped",
    }
    assert "bitrate" in features["numeric_cols"]


def test_features_are_chosen_by_name(with_unknown_columns, run):
    run.resolve(extra_features=["digg_count"], exclude_features=["bitrate", "channel_country"])
    record = filtered(run)
    frame = run.frame(record.key)
    assert frame["digg_count"].tolist() == list(range(24))
    assert not {"bitrate", "channel_country"} & set(frame.columns)
    features = run.json(record.report_key)["features"]
    assert features["unknown_columns"]["digg_count"]["why"] == "extra_features names it"
    assert {"bitrate", "channel_country"} <= set(features["dropped_metadata_cols"])


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"extra_features": ["dig_count"]}, "extra_features: expected columns of the file, got 'dig_count'"),
        ({"exclude_features": ["titel"]}, "exclude_features: expected columns of the file, got 'titel'"),
        ({"extra_features": ["codec"]}, "extra_features: expected columns whose cells .*, got 'codec'"),
    ],
)
def test_a_feature_that_was_asked_for_and_cannot_be_is_named(with_unknown_columns, run, params, problem):
    run.resolve(**params)
    with pytest.raises(ConfigError, match=f"{problem}, in s3://.*{keys.METADATA_CSV}"):
        filtered(run)


def test_too_many_labels_that_cannot_be_read_are_refused(upstream, run):
    """Upstream writes them in another way from some day on."""
    labels = upstream.metadata["horizon_view_count"].astype(object)
    upstream.metadata["horizon_view_count"] = labels.where(~upstream.metadata["video_id"].isin(upstream.ids[:5]), "1,2")
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match=r"max_lost_fraction = 0.2 of the rows .* got 5 of 24 \(unparsable_label 5\)"):
        filtered(run)
    run.resolve("run-2", max_lost_fraction=0.3)
    assert filtered(run).dropped["unparsable_label"] == 5


def test_too_many_ragged_rows_are_refused(upstream, run):
    """Upstream writes a field more than the header names."""
    header, *rows = upstream.metadata.drop(columns="title").to_csv(index=False).splitlines()
    body = "\n".join([header, *(row + ",more" for row in rows[:10]), *rows[10:], ""])
    upstream.raw[keys.METADATA_CSV] = body.encode()
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match=r"max_lost_fraction = 0.2 of the rows .* got 10 of 48 \(ragged_row 10\)"):
        filtered(run)
