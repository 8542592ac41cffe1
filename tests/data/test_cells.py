"""The reading of cells."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from clipfarm_tasks.data.cells import LARGEST_NUMBER, UNDECODABLE, parse_numbers, parse_text


def test_parse_numbers_equals_float_on_what_float_reads():
    texts = ["0", "-1.5", "3e-2", "+7", ".5", "5.", "123456789012", "1E5"]
    assert parse_numbers(pa.array(texts)).to_pylist() == [float(text) for text in texts]
    mixed = parse_numbers(pa.array([*texts, "x"])).to_pylist()
    assert mixed[:-1] == [float(text) for text in texts]
    assert np.isnan(mixed[-1])


def test_parse_text_counts_bad_bytes_apart_from_empty_cells():
    read = parse_text(pa.array([b" a ", b"", b"\xff", None, "\u00e9".encode()]))
    assert read.to_pylist() == ["a", None, UNDECODABLE, None, "\u00e9"]


WILD = ["1e39", "-1e300", "inf", "-Infinity", "1e999", "1000000000000001"]


@pytest.mark.parametrize("words", [True, False])
def test_numbers_that_would_outweigh_their_column_are_unreadable_not_missing(words):
    values = parse_numbers(pa.array([*WILD, "1e15", "-1e15", ""]), words=words)
    assert values.to_pylist()[len(WILD) :] == [1e15, -1e15, None]
    assert pc.is_nan(values).to_pylist()[: len(WILD)] == [True] * len(WILD)


def test_squares_of_a_hundred_million_numbers_fit_into_float32():
    assert np.finfo(np.float32).max > LARGEST_NUMBER**2 * 1e8


NOTHING = ["", " ", "None", "nan", "NaN", "-nan", "null", "NULL", "N/A", "n/a", " #N/A ", "<NA>", "NaT"]


@pytest.mark.parametrize("words", [True, False])
def test_words_for_nothing_are_missing_numbers(words):
    assert parse_numbers(pa.array([*NOTHING, "NA", "na"]), words=words).null_count == len(NOTHING) + 2


def test_words_for_nothing_are_missing_texts_but_namibia_is_a_country():
    texts = [*NOTHING, "NA", "no", "nantes", "nonesuch"]
    assert parse_text(pa.array(texts)).to_pylist() == [None] * len(NOTHING) + texts[len(NOTHING) :]
    assert parse_text(pa.array([b"\xff", b"None"])).to_pylist() == [UNDECODABLE, None]
