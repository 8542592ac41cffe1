import csv
import io
from datetime import datetime

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Horizon, Modality, Strategy
from clipfarm_tasks.sample.captures import make_captures
from clipfarm_tasks.sample.columns import COLUMNS
from clipfarm_tasks.sample.metadata import metadata_csv
from clipfarm_tasks.sample.shards import DATES, plan_shards, source_hash
from clipfarm_tasks.sample.vectors import fuse, loadings, modality_vectors
from clipfarm_tasks.sample.world import SyntheticParams, make_world

SPELLINGS = {"True", "False", "1", "0", "yes", "no", "true", "false"}


@pytest.fixture(scope="module")
def world():
    return make_world(SyntheticParams(videos=600, seed=3, width=24))


@pytest.fixture(scope="module")
def rows(world):
    return list(csv.DictReader(io.StringIO(metadata_csv(world).decode(), newline="")))


@pytest.fixture(scope="module")
def shards(world):
    return list(plan_shards(world))


def test_equal_parameters_give_equal_bytes_and_another_seed_other_ones(world):
    again = make_world(SyntheticParams(videos=600, seed=3, width=24))
    assert metadata_csv(again) == metadata_csv(world)
    assert metadata_csv(make_world(SyntheticParams(videos=600, seed=4, width=24))) != metadata_csv(world)
    some, flags = np.array([5, 0, 599]), np.array([False, True, False])
    for modality in Modality:
        np.testing.assert_array_equal(
            modality_vectors(again, some, flags)[modality], modality_vectors(world, some, flags)[modality]
        )


def test_the_width_of_the_vectors_leaves_the_metadata_alone(world):
    assert metadata_csv(make_world(SyntheticParams(videos=600, seed=3, width=8))) == metadata_csv(world)


@pytest.mark.parametrize(("name", "value"), [("videos", 19), ("seed", -1), ("width", 0), ("max_parts", 0)])
def test_limits(name, value):
    with pytest.raises(ConfigError, match=rf"expected {name} to be at least \d+, got {value}, in the sample"):
        SyntheticParams(**{name: value})


@pytest.mark.parametrize("videos", [20, 64, 65, 5000])
def test_ids_are_unique(videos):
    ids = make_world(SyntheticParams(videos=videos)).video_ids
    assert len(set(ids)) == videos
    assert {len(video_id) for video_id in ids} == {11}


def test_views_have_a_heavy_tail_and_never_shrink_with_age(world):
    week, month = world.views[Horizon.D7], world.views[Horizon.D30]
    assert (month >= week).all()
    assert (week >= 1).all()
    assert week.mean() > 2 * np.median(week)
    assert abs(stats.skew(np.log1p(week))) < 1


def test_channels_differ(world):
    logs = np.log1p(world.views[Horizon.D7])
    quality = world.channels.quality[world.channel]
    assert stats.pearsonr(quality, logs).pvalue < 1e-9
    assert np.bincount(world.channel).max() > 3 * 600 / len(world.channels.quality)
    assert world.channels.subscribers.mean() > 3 * np.median(world.channels.subscribers)


def test_shares_of_the_unusual(world):
    assert 0.08 < 1 - world.text_present.mean() < 0.16
    assert 0.05 < world.recaptured.mean() < 0.11
    assert world.lost[Modality.TEXT].sum() == round(0.005 * world.text_present.sum())
    assert not (world.lost[Modality.TEXT] & ~world.text_present).any()
    assert world.lost[Modality.VIDEO].sum() + world.lost[Modality.AUDIO].sum() == 1


def test_columns_are_those_of_production(rows):
    assert tuple(rows[0]) == COLUMNS
    assert len(set(COLUMNS)) == 70
    assert all(None not in row and None not in row.values() for row in rows)


def test_csv_has_texts_over_several_lines_with_commas_quotes_and_emoji(rows):
    titles = [row["title"] for row in rows]
    for sign in ("\n", ",", '"', "🔥", "京"):
        assert any(sign in title for title in titles), sign


def test_booleans_are_spelled_in_every_way_and_nothing_else(rows):
    spelled = {row["has_hashtags"] for row in rows}
    assert spelled == SPELLINGS
    assert {row["has_clickbait_words"] for row in rows} == SPELLINGS | {""}


def test_only_some_values_are_missing(rows):
    always = ("video_id", "horizon_days", "captured_at", "published_at")
    assert all(row[name] for row in rows for name in always)
    for name in ("channel_country", "default_language", "channel_median_shorts_view_count", "horizon_view_count"):
        missing = sum(not row[name] for row in rows)
        assert 0 < missing < len(rows) / 2, name


def test_some_videos_are_captured_again_and_the_latest_row_has_the_true_label(world, rows):
    position = {video_id: i for i, video_id in enumerate(world.video_ids)}
    captures: dict[tuple[str, int], list[dict]] = {}
    for row in rows:
        captures.setdefault((row["video_id"], int(row["horizon_days"])), []).append(row)
    again = {key: found for key, found in captures.items() if len(found) > 1}
    assert {world.video_ids[i] for i in np.flatnonzero(world.recaptured)} == {video_id for video_id, _ in again}
    for (video_id, days), found in captures.items():
        assert len({row["captured_at"] for row in found}) == len(found)
        latest = max(found, key=lambda row: datetime.fromisoformat(row["captured_at"]))
        if latest["horizon_view_count"]:
            assert float(latest["horizon_view_count"]) == world.views[Horizon(days)][position[video_id]]


def test_every_capture_is_taken_at_its_horizon_and_appended_by_day(world):
    captures = make_captures(world)
    age_days = (captures.captured_s - world.published_s[captures.video]) / 86400
    assert ((age_days >= captures.horizon) & (age_days < captures.horizon + 1)).all()
    assert (np.diff(captures.captured_s // 86400) >= 0).all()
    month = captures.horizon == 30
    assert (captures.views[month] >= world.views[Horizon.D7][captures.video[month]]).all()
    assert 0.9 < len(set(captures.video[month])) / 600 < 1


def test_leak_columns_tell_the_label(rows):
    known = [row for row in rows if row["horizon_view_count"]]
    label = [float(row["horizon_view_count"]) for row in known]
    for name in ("view_count", "views_per_day", "views_per_hour"):
        assert stats.spearmanr(label, [float(row[name]) for row in known]).statistic > 0.8, name


def test_shards_hold_every_video_once_and_the_recaptured_an_older_row_before(world, shards):
    current = np.concatenate([shard.videos[~shard.older] for shard in shards])
    assert sorted(current) == list(range(600))
    when = {
        (video, older): at
        for shard in shards
        for video, older, at in zip(shard.videos.tolist(), shard.older.tolist(), shard.captured_at, strict=True)
    }
    assert {video for video, older in when if older} == set(np.flatnonzero(world.recaptured))
    for video in np.flatnonzero(world.recaptured):
        assert when[video, True][:10] < when[video, False][:10]
    assert source_hash("a", older=True) != source_hash("a", older=False)


def test_part_names_recur_under_other_dates():
    parts = [(shard.date, shard.part) for shard in plan_shards(make_world(SyntheticParams(videos=2000)))]
    assert len(set(parts)) == len(parts)
    for date in DATES:
        found = [part for day, part in parts if day == date]
        assert found == list(range(len(found)))
        assert 2 <= len(found) <= 4


def test_rows_of_a_shard_do_not_depend_on_each_other(world, shards):
    shard = shards[0]
    whole = modality_vectors(world, shard.videos, shard.older)
    one = modality_vectors(world, shard.videos[3:4], shard.older[3:4])
    for modality in Modality:
        np.testing.assert_allclose(one[modality][0], whole[modality][3], rtol=1e-5, atol=1e-6)
        assert whole[modality].dtype == np.float32


def test_an_older_capture_has_another_vector(world):
    videos = np.flatnonzero(world.text_present)[:1]
    older, current = (modality_vectors(world, videos, np.array([flag])) for flag in (True, False))
    for modality in Modality:
        assert np.abs(older[modality] - current[modality]).max() > 0.1


def test_vectors_carry_the_content(world):
    videos = np.flatnonzero(world.text_present)
    vectors = modality_vectors(world, videos, np.zeros(len(videos), dtype=bool))
    found = vectors[Modality.TEXT] @ np.linalg.pinv(loadings(world, Modality.TEXT))
    assert stats.pearsonr(found[:, 0], world.factors[videos, 0]).statistic > 0.6
    np.testing.assert_allclose(loadings(world, Modality.TEXT)[1], 0)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_fusion_follows_the_contract(world, strategy):
    videos = np.arange(60)
    present = world.text_present[videos]
    assert 0 < present.sum() < 60
    vectors = modality_vectors(world, videos, np.zeros(60, dtype=bool))
    assert (vectors[Modality.TEXT][~present] == 0).all()
    assert (vectors[Modality.TEXT][present] != 0).any(axis=1).all()
    fused = fuse(strategy, vectors, present)
    assert fused.dtype == np.float32
    np.testing.assert_array_equal(fused[:, -1], present)
    stacked = np.stack([vectors[m] for m in ("video", "audio", "text")], axis=1)
    expected = {
        "concat": stacked.reshape(60, 72),
        "sum_pool": stacked.sum(axis=1),
        "max_pool": stacked.max(axis=1),
    }[strategy]
    np.testing.assert_allclose(fused[:, :-1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("horizon", list(Horizon))
def test_a_plain_ridge_learns_from_counts_and_vectors_but_not_everything(horizon):
    world = make_world(SyntheticParams(width=64))
    c, channel, n = world.channels, world.channel, world.params.videos
    counts = np.stack([c.subscribers, c.video_count, c.total_views, c.median_views, c.age_days], axis=1)[channel]
    vectors = modality_vectors(world, np.arange(n), np.zeros(n, dtype=bool))
    features = np.hstack([np.log1p(counts), fuse(Strategy.CONCAT, vectors, world.text_present)])
    target = np.log1p(world.views[horizon])
    order = np.random.default_rng(0).permutation(n)
    train, test = order[: n * 7 // 10], order[n * 7 // 10 :]
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 6)))
    both = model.fit(features[train], target[train]).score(features[test], target[test])
    counts_only = model.fit(features[train, :5], target[train]).score(features[test, :5], target[test])
    assert 0.4 < both < 0.7
    assert both > counts_only + 0.05
