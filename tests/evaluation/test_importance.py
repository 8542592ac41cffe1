"""Importance of blocks and features, against models whose use of each is known exactly."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.data.feature_blocks import Block
from clipfarm_tasks.data.features import FeatureSpec
from clipfarm_tasks.evaluation.importance import BLOCK_EFFORT, FEATURE_EFFORT, TOP, blocks_of, importance
from clipfarm_tasks.families import Modality
from clipfarm_tasks.models.inputs import ModelInputs

N = 2000
WIDTHS = {Modality.VIDEO: 3, Modality.AUDIO: 2, Modality.TEXT: 4}
SPEC = FeatureSpec(
    numeric_cols=("channel_view_count", "is_short", "published_hour", "subscribers_over_videos", "title_words"),
    categorical_cols=("channel_country", "query"),
    dropped_metadata_cols=(),
    excluded_high_card=(),
    excluded_leakage=(),
)


def inputs(modalities=False):
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame({name: rng.standard_normal(N) for name in SPEC.numeric_cols})
    for name in SPEC.categorical_cols:
        metadata[name] = np.where(rng.random(N) < 0.5, "a", None).astype(object)
    vectors = {str(name): rng.standard_normal((N, width), dtype=np.float32) for name, width in WIDTHS.items()}
    present = (rng.random(N) < 0.5).astype(np.float32)
    fused = np.hstack([*vectors.values(), present[:, None]])
    seen = vectors if modalities else {"fused": fused}
    for array in (present, *seen.values()):
        array.flags.writeable = False  # as a memory map is
    return ModelInputs(metadata, present, **seen)


def columns_by_block(found):
    return {block.name: (list(block.columns), dict(block.vectors), block.text_present) for block in found}


def test_a_concatenated_vector_falls_apart_by_its_widths_with_the_mask_at_the_text():
    found = columns_by_block(blocks_of(inputs(), SPEC, WIDTHS))
    assert found == {
        "video": ([], {"fused": slice(0, 3)}, False),
        "audio": ([], {"fused": slice(3, 5)}, False),
        "text": ([], {"fused": slice(5, 10)}, False),
        "channel": (["channel_view_count", "subscribers_over_videos"], {}, False),
        "timing": (["published_hour"], {}, False),
        "text_statistics": (["title_words"], {}, False),
        "other_metadata": (["is_short"], {}, False),
        "channel_country": (["channel_country"], {}, False),
        "query": (["query"], {}, False),
    }


def test_a_mixed_or_undeclared_vector_is_one_block():
    too_wide = {name: 10 * width for name, width in WIDTHS.items()}
    for widths in (None, too_wide):
        found = columns_by_block(blocks_of(inputs(), SPEC, widths))
        assert found["fused"] == ([], {"fused": slice(None)}, False)
        assert not {*map(str, Modality)} & set(found)


def test_modalities_of_their_own_are_blocks_and_the_flag_goes_with_the_text():
    found = columns_by_block(blocks_of(inputs(modalities=True), SPEC, None))
    assert {name: found[name] for name in map(str, Modality)} == {
        "video": ([], {"video": slice(None)}, False),
        "audio": ([], {"audio": slice(None)}, False),
        "text": ([], {"text": slice(None)}, True),
    }


def test_what_columns_are_learnt_from_is_permuted_with_its_modality_or_is_a_block_of_its_own():
    rows = inputs()
    times = pd.DataFrame({"creator": [f"c{number}" for number in range(N)]})
    learnt = replace(rows, text=np.zeros((N, 2), np.float32), provenance=times)
    found = columns_by_block(blocks_of(learnt, SPEC, WIDTHS))
    assert found["text"] == ([], {"text": slice(None), "fused": slice(5, 10)}, True)
    assert found["creator_history"] == ([], {}, False)
    pooled = columns_by_block(blocks_of(learnt, SPEC, None))
    assert pooled["text_neighbours"] == ([], {"text": slice(None)}, True)
    assert pooled["fused"] == ([], {"fused": slice(None)}, False)

    def by_creator(rows):
        return rows.provenance["creator"].str[1:].astype("f4").to_numpy()

    judged = importance(by_creator, learnt, by_creator(learnt), blocks_of(learnt, SPEC, None), seed=1)
    assert [one["name"] for one in judged["blocks"] if one["mean"] > 0] == ["creator_history"]


def additive(rows):
    """2 channel_view_count + video_0 + 3 text_1 + 1 where the country is known; noise free."""
    vectors = rows.fused if rows.fused is not None else np.hstack([rows.video, rows.audio, rows.text])
    known = rows.metadata["channel_country"].notna().to_numpy()
    return (2 * rows.metadata["channel_view_count"].to_numpy() + vectors[:, 0] + 3 * vectors[:, 6] + known).astype("f4")


@pytest.mark.parametrize("modalities", [False, True])
def test_the_rise_is_that_of_the_part_of_the_prediction_that_belongs_to_another_video(modalities):
    rows = inputs(modalities)
    target = additive(rows)
    found = importance(additive, rows, target, blocks_of(rows, SPEC, WIDTHS), seed=1)
    means = {one["name"]: one["mean"] for one in found["blocks"]}
    # Of an exact additive model, sqrt(E[(u - u')^2]) = sqrt(2 Var u) for the part u that was permuted.
    expected = {"channel": 2 * 2**0.5, "video": 2**0.5, "text": 3 * 2**0.5, "channel_country": 0.5**0.5}
    assert {name: means[name] for name in expected} == pytest.approx(expected, rel=0.15)
    assert {mean for name, mean in means.items() if name not in expected} == {0.0}
    assert [one["name"] for one in found["blocks"][:4]] == ["text", "channel", "video", "channel_country"]
    assert [one["name"] for one in found["features"][:2]] == ["channel_view_count", "channel_country"]
    assert all(one["std"] > 0 for one in found["blocks"][:4])
    assert (found["block_rows"], found["feature_repeats"]) == (BLOCK_EFFORT.rows, FEATURE_EFFORT.repeats)


def test_columns_of_a_block_move_together():
    """Their difference stays, so a model of it alone loses what it knew only through other videos' differences."""
    rows = inputs()
    rows.metadata["subscribers_over_videos"] = rows.metadata["channel_view_count"]

    def difference(seen):
        return (seen.metadata["channel_view_count"] - seen.metadata["subscribers_over_videos"]).to_numpy(np.float32)

    found = importance(difference, rows, np.zeros(N, np.float32), blocks_of(rows, SPEC, WIDTHS), seed=1)
    assert {one["name"]: one["mean"] for one in found["blocks"]}["channel"] == 0.0
    assert found["features"][0]["mean"] > 1.0


def test_the_seed_decides_and_nothing_else():
    rows = inputs()
    arguments = (additive, rows, additive(rows), blocks_of(rows, SPEC, WIDTHS))
    assert importance(*arguments, seed=1) == importance(*arguments, seed=1)
    assert importance(*arguments, seed=1) != importance(*arguments, seed=2)


def test_features_that_share_a_call_are_judged_as_if_alone(monkeypatch):
    rows = inputs()
    together = importance(additive, rows, additive(rows), [], seed=1)
    monkeypatch.setattr("clipfarm_tasks.evaluation.importance.FEATURE_EFFORT", FEATURE_EFFORT._replace(together=1))
    alone = importance(additive, rows, additive(rows), [], seed=1)
    assert together["features"] == alone["features"]


def test_few_rows_are_all_used_and_only_the_largest_features_are_kept():
    rng = np.random.default_rng(0)
    names = [f"x{number:02d}" for number in range(TOP + 5)]
    rows = ModelInputs(pd.DataFrame({name: rng.standard_normal(30) for name in names}), np.ones(30, np.float32))

    def predict(seen):
        return (seen.metadata[names].to_numpy() @ np.arange(TOP + 5)).astype(np.float32)

    found = importance(predict, rows, predict(rows), [], seed=1)
    assert (found["block_rows"], found["feature_rows"], found["blocks"]) == (30, 30, [])
    assert len(found["features"]) == TOP
    assert "x00" not in {one["name"] for one in found["features"]}


def test_every_block_has_a_feature_that_belongs_to_it():
    from clipfarm_tasks.data.columns import KNOWN, Kind
    from clipfarm_tasks.data.computed_features import BLOCKS, NAMES
    from clipfarm_tasks.data.feature_blocks import block_of

    assert set(BLOCKS) == set(NAMES)
    known = {name: block_of(name, BLOCKS) for name, kind in KNOWN.items() if kind in (Kind.NUMERIC, Kind.BOOLEAN)}
    assert set(known.values()) == set(Block)
    assert known["channel_views_over_videos"] == known["videos_over_channel_age"] == Block.CHANNEL
    assert known["published_hour_sin"] == known["published_weekday"] == Block.TIMING
    assert known["description_uppercase"] == known["has_hashtags"] == known["emoji_count"] == Block.TEXT_STATISTICS
    assert known["thumb_pixels"] == known["duration_seconds"] == Block.OTHER
