"""The reading of cells."""

import numpy as np
import pyarrow as pa

from clipfarm_tasks.data.cells import UNDECODABLE, parse_numbers, parse_text


def test_parse_numbers_equals_float_on_what_float_reads():
    texts = ["0", "-1.5", "3e-2", "+7", ".5", "5.", "123456789012", "1E5"]
    assert parse_numbers(pa.array(texts)).to_pylist() == [float(text) for text in texts]
    mixed = parse_numbers(pa.array([*texts, "x"])).to_pylist()
    assert mixed[:-1] == [float(text) for text in texts]
    assert np.isnan(mixed[-1])


def test_parse_text_counts_bad_bytes_apart_from_empty_cells():
    cells = pa.array([b" a ", b"", b"\xff", None, "\u00e9".encode()])
    assert parse_text(cells).to_pylist() == ["a", None, UNDECODABLE, None, "\u00e9"]
