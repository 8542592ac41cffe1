import io

import numpy as np
import pytest

from clipfarm_tasks.data.modality_rows import assemble
from clipfarm_tasks.families import Modality

VIDEO, AUDIO, TEXT = Modality
WIDTHS = {VIDEO: 2, AUDIO: 3, TEXT: 4}


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, dtype="f4"))
    return buffer.getvalue()


def made(count, widths=WIDTHS):
    """(ids, keys by modality, bodies by key): video n's vectors hold n everywhere."""
    ids = [f"v{row}" for row in range(count)]
    keys = {modality: [f"{modality}/{video_id}" for video_id in ids] for modality in Modality}
    bodies = {
        keys[modality][row]: npy(np.full(width, row)) for modality, width in widths.items() for row in range(count)
    }
    return ids, keys, bodies


def test_every_vector_lands_in_its_videos_row():
    rows = assemble(*made(5), WIDTHS)
    assert rows.positions.tolist() == [0, 1, 2, 3, 4]
    assert rows.text_present.tolist() == [1] * 5
    assert rows.quarantined == []
    for modality, width in WIDTHS.items():
        np.testing.assert_array_equal(rows.vectors[modality], np.repeat(np.arange(5.0), width).reshape(5, width))
        assert rows.vectors[modality].dtype == np.float32


def test_positions_skip_what_is_quarantined():
    ids, keys, bodies = made(5)
    del bodies["video/v1"]
    bodies["audio/v3"] = b""
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert rows.positions.tolist() == [0, 2, 4]
    assert rows.vectors[TEXT][:, 0].tolist() == [0, 2, 4]
    assert [(bad.video_id, bad.key, str(bad.reason)) for bad in rows.quarantined] == [
        ("v1", "video/v1", "missing_object"),
        ("v3", "audio/v3", "empty_object"),
    ]


def test_video_with_several_faults_is_listed_once_by_the_first():
    ids, keys, bodies = made(2)
    bodies |= {"video/v0": npy([np.nan, 1]), "audio/v0": b"", "text/v0": npy([np.inf] * 4)}
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert [(bad.key, str(bad.reason)) for bad in rows.quarantined] == [("video/v0", "not_finite")]


@pytest.mark.parametrize("absent", ["key", "object", "none"])
def test_missing_text_becomes_zeros(absent):
    ids, keys, bodies = made(3)
    if absent == "key":
        keys[TEXT][1] = ""
    elif absent == "object":
        del bodies["text/v1"]
    else:
        bodies["text/v1"] = None
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert rows.text_present.tolist() == [1, 0, 1]
    assert rows.vectors[TEXT].tolist() == [[0] * 4, [0] * 4, [2] * 4]


def test_missing_required_key_is_quarantined():
    ids, keys, bodies = made(3)
    keys[AUDIO][2] = ""
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert rows.positions.tolist() == [0, 1]
    assert [bad.video_id for bad in rows.quarantined] == ["v2"]


@pytest.mark.parametrize(("given", "expected"), [([7, 8], [7, 8, 0, 0]), ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4])])
def test_text_is_padded_or_cut(given, expected):
    ids, keys, bodies = made(2)
    bodies["text/v1"] = npy(given)
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert rows.vectors[TEXT][1].tolist() == expected
    assert rows.text_present.tolist() == [1, 1]


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_required_vector_of_another_width_is_quarantined(modality):
    ids, keys, bodies = made(3)
    bodies[f"{modality}/v1"] = npy(np.ones(9))
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert [(bad.video_id, str(bad.reason)) for bad in rows.quarantined] == [("v1", "wrong_width")]
    assert f"expected {modality} width {WIDTHS[modality]}, got 9" in rows.quarantined[0].detail


def test_undeclared_widths_are_the_most_frequent_ones():
    ids, keys, bodies = made(4)
    bodies |= {"video/v0": npy(np.ones(9)), "text/v0": npy(np.ones(9))}
    rows = assemble(ids, keys, bodies, {})
    assert rows.positions.tolist() == [1, 2, 3]
    assert {modality: vectors.shape[1] for modality, vectors in rows.vectors.items()} == WIDTHS


def test_undeclared_width_takes_the_larger_one_on_a_tie():
    ids, keys, bodies = made(2)
    bodies["video/v0"] = npy(np.ones(9))
    rows = assemble(ids, keys, bodies, {})
    assert rows.positions.tolist() == [0]
    assert rows.vectors[VIDEO].shape == (1, 9)


def test_no_video_at_all():
    rows = assemble([], {modality: [] for modality in Modality}, {}, WIDTHS)
    assert len(rows.positions) == len(rows.text_present) == 0
    assert {modality: matrix.shape for modality, matrix in rows.vectors.items()} == {
        modality: (0, width) for modality, width in WIDTHS.items()
    }


def test_lists_of_different_lengths_are_a_bug_of_the_caller():
    ids, keys, bodies = made(3)
    with pytest.raises(ValueError, match="shorter"):
        assemble(ids, keys | {AUDIO: keys[AUDIO][:2]}, bodies, WIDTHS)
