"""The computed features against formulas written out by hand, and what a row alone tells."""

import math

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.columns import COMPUTED_NAMES, KNOWN, Kind, kind_of
from clipfarm_tasks.data.computed_features import COMPUTED, NAMES, TEXTS, text_statistics
from clipfarm_tasks.data.leakage import is_leakage


def test_every_computed_feature_is_known_and_none_counts_as_a_leak():
    assert len({kind_of(name) for name in NAMES}) == 1
    assert {KNOWN[name] for name in NAMES} == {Kind.NUMERIC}
    assert COMPUTED_NAMES is NAMES
    assert not any(map(is_leakage, NAMES))


def test_texts_are_counted_by_their_characters():
    texts = pa.array(["NYE, party,Ünder WATER", "日本 go", None, UNDECODABLE, "x"])
    found = text_statistics("title", texts)
    assert tuple(found) == TEXTS["title"]
    words, upper, non_ascii = (column.to_pylist() for column in found.values())
    assert words[:3] == [4, 2, None]
    assert upper[:3] == [pytest.approx(9 / 22), 0, None]
    assert non_ascii[:3] == [pytest.approx(1 / 22), pytest.approx(2 / 5), None]
    assert all(math.isnan(column[3]) for column in (words, upper, non_ascii))
    assert (words[4], upper[4], non_ascii[4]) == (1, 0, 0)


def compute(name, *columns):
    return COMPUTED[name].compute(*map(np.array, columns))


def test_a_ratio_is_the_difference_of_logarithms():
    found = compute("subscribers_over_videos", [999.0, 0.0, -3.0, np.nan], [9.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(found[:3], [math.log(1000 / 10), 0, 0])
    assert math.isnan(found[3])


def test_the_time_of_day_goes_round():
    times = np.array(["2026-03-01T00:00", "2026-03-01T06:00", "2026-03-05T23:59", "NaT"], "datetime64[us]")
    sines, cosines = compute("published_hour_sin", times), compute("published_hour_cos", times)
    np.testing.assert_allclose(sines[:3], [0, 1, math.sin(-2 * math.pi / 1440)], atol=1e-12)
    np.testing.assert_allclose(cosines[:3], [1, 0, math.cos(2 * math.pi / 1440)], atol=1e-12)
    assert np.isnan([sines[3], cosines[3]]).all()


def test_a_thumbnail_without_height_has_no_shape():
    np.testing.assert_equal(
        compute("thumb_width_over_height", [1080.0, 9.0, 100.0], [1920.0, 1.0, 0.0]), [0.5625, 9.0, np.nan]
    )
    np.testing.assert_equal(compute("thumb_pixels", [1080.0, np.nan], [1920.0, 2.0]), [2073600, np.nan])
