import io

import numpy as np
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.vectors import modality_rows
from clipfarm_tasks.vectors.modality_rows import HeldVectors, widths_of

VIDEO, AUDIO, TEXT = Modality
WIDTHS = {VIDEO: 2, AUDIO: 3, TEXT: 4}


NOTHING = {modality: HeldVectors(np.zeros(0, np.int64), np.zeros((0, 0), np.float32)) for modality in Modality}


def assemble(ids, keys, bodies, widths, held=NOTHING):
    return modality_rows.assemble(ids, keys, bodies, widths, held)


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
    assert rows.text_present.tolist() == [1] * 5
    assert rows.bad == {}
    for modality, width in WIDTHS.items():
        np.testing.assert_array_equal(rows.vectors[modality], np.repeat(np.arange(5.0), width).reshape(5, width))
        assert rows.vectors[modality].dtype == np.float32


def test_unusable_video_is_zeros_and_moves_no_other():
    ids, keys, bodies = made(5)
    bodies["video/v1"] = None
    bodies["audio/v3"] = b""
    rows = assemble(ids, keys, bodies, WIDTHS)
    for modality in Modality:
        assert rows.vectors[modality][:, 0].tolist() == [0, 0, 2, 0, 4]
    assert rows.text_present.tolist() == [1, 0, 1, 0, 1]
    assert {row: (bad.video_id, bad.key, str(bad.reason)) for row, bad in rows.bad.items()} == {
        1: ("v1", "video/v1", "missing_object"),
        3: ("v3", "audio/v3", "empty_object"),
    }


def test_object_that_is_missing_is_named_though_the_others_were_not_read():
    ids, keys, bodies = made(2)
    del bodies["video/v1"], bodies["text/v1"]
    bodies["audio/v1"] = None
    assert assemble(ids, keys, bodies, WIDTHS).bad[1].key == "audio/v1"


def test_video_with_several_faults_is_listed_once_by_the_first():
    ids, keys, bodies = made(2)
    bodies |= {"video/v0": npy([np.nan, 1]), "audio/v0": b"", "text/v0": npy([np.inf] * 4)}
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert {row: (bad.key, str(bad.reason)) for row, bad in rows.bad.items()} == {0: ("video/v0", "not_finite")}


@pytest.mark.parametrize("absent", ["key", "object"])
def test_missing_text_becomes_zeros(absent):
    ids, keys, bodies = made(3)
    if absent == "key":
        keys[TEXT][1] = ""
    else:
        bodies["text/v1"] = None
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert rows.text_present.tolist() == [1, 0, 1]
    assert rows.vectors[TEXT].tolist() == [[0] * 4, [0] * 4, [2] * 4]


def test_missing_required_key_is_quarantined():
    ids, keys, bodies = made(3)
    keys[AUDIO][2] = ""
    rows = assemble(ids, keys, bodies, WIDTHS)
    assert {row: bad.video_id for row, bad in rows.bad.items()} == {2: "v2"}


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
    assert {row: str(bad.reason) for row, bad in rows.bad.items()} == {1: "wrong_width"}
    assert f"expected {modality} width {WIDTHS[modality]}, got 9" in rows.bad[1].detail


def test_undeclared_widths_are_the_most_frequent_ones():
    _, keys, bodies = made(4)
    bodies |= {"video/v0": npy(np.ones(9)), "text/v0": npy(np.ones(9)), "audio/v1": b"", "audio/v2": None}
    assert widths_of(keys, bodies) == WIDTHS


def test_undeclared_width_takes_the_larger_one_on_a_tie():
    _, keys, bodies = made(2)
    bodies["video/v0"] = npy(np.ones(9))
    assert widths_of(keys, bodies) == WIDTHS | {VIDEO: 9}


def test_undeclared_text_without_any_vector_is_as_wide_as_the_video():
    _, keys, bodies = made(2)
    assert widths_of(keys | {TEXT: ["", ""]}, bodies) == WIDTHS | {TEXT: WIDTHS[VIDEO]}


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_width_that_nothing_tells_is_refused(modality):
    _, keys, bodies = made(3)
    bodies |= dict.fromkeys(keys[modality], b"")
    with pytest.raises(DataError, match=f"expected a readable {modality} vector .* none of the first 3 videos"):
        widths_of(keys, bodies)


def test_vector_that_is_known_is_not_decoded():
    ids, keys, bodies = made(3)
    del bodies["video/v1"], bodies["text/v2"]
    held = {
        VIDEO: HeldVectors(np.array([1]), np.full((1, 2), 7, np.float32)),
        TEXT: HeldVectors(np.array([2]), np.full((1, 4), 8, np.float32)),
    }
    rows = assemble(ids, keys, bodies, WIDTHS, NOTHING | held)
    assert rows.vectors[VIDEO][:, 0].tolist() == [0, 7, 2]
    assert rows.vectors[TEXT][:, 0].tolist() == [0, 1, 8]
    assert (rows.text_present.tolist(), rows.bad) == ([1, 1, 1], {})


def test_no_video_at_all():
    rows = assemble([], {modality: [] for modality in Modality}, {}, WIDTHS)
    assert (len(rows.text_present), rows.bad) == (0, {})
    assert {modality: matrix.shape for modality, matrix in rows.vectors.items()} == {
        modality: (0, width) for modality, width in WIDTHS.items()
    }
