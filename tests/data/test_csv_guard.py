"""Quoting that is refused, and on which line."""

import contextlib

import numpy as np
import pytest

from clipfarm_tasks.data import csv_guard, metadata_scan
from clipfarm_tasks.errors import DataError
from tests.data.metadata_csv import row, scan, select, to_csv


def test_plain_quotes_inside_unquoted_fields_are_characters():
    body = to_csv([row("a"), row("b")]).replace(b",t,", b',5" screen "" x,')
    assert body.count(b'"') == 6
    assert len(select(body).frame) == 2


@pytest.mark.parametrize("block", range(90, 150, 7))
def test_plain_quotes_are_characters_wherever_a_block_ends(monkeypatch, block):
    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", block)
    body = to_csv([row(f"v{i}", title="PLAIN") for i in range(9)]).replace(b"PLAIN", b'5" by 7" "" print')
    assert len(select(body).frame) == 9


def test_an_unclosed_quote_is_refused_with_its_line():
    body = to_csv([row("a"), row("b"), row("c")]).replace(b"b,2026", b'b,"2026')
    with pytest.raises(DataError, match="got the end of the file in the field that opens on line 3, in s3://"):
        select(body)


def test_a_quote_that_swallows_rows_up_to_the_next_quote_is_refused_with_its_line():
    body = to_csv([row("a", title="T"), row("b"), row("c", title="x, y"), row("d")]).replace(b",T,", b',"T,')
    with pytest.raises(DataError, match=r"comma or a line end after a closing quote, got b'\"x, y.* on line 4, in s3"):
        select(body)


def test_the_line_of_an_unclosed_quote_is_where_its_field_opens():
    body = to_csv([row("a"), row("b", title='two\nlines, "quoted"\ntwice')])
    with pytest.raises(DataError, match="in the field that opens on line 3, in s3://"):
        select(body[: body.index(b"twice")])


def quoting_by_hand(body: bytes) -> str:
    """RFC 4180 character by character; quotes inside an unquoted field are characters."""
    state = "start"
    for character in body.decode():
        if state == "quoted":
            state = "closing" if character == '"' else "quoted"
        elif character in ",\r\n":
            state = "start"
        elif state == "closing":
            if character != '"':
                return "expected a comma or a line end after a closing quote"
            state = "quoted"
        elif state == "start":
            state = "quoted" if character == '"' else "plain"
    return "expected every quoted field to be closed" if state == "quoted" else ""


def test_quoting_is_judged_as_by_hand(monkeypatch):
    monkeypatch.setattr(csv_guard, "_WINDOW", 3)
    draw = np.random.default_rng(11)
    verdicts = set()
    for _ in range(400):
        body = to_csv([row()]) + "".join(draw.choice(list('aa",\n"'), draw.integers(14))).encode()
        expected = quoting_by_hand(body)
        verdicts.add(expected)
        refused = pytest.raises(DataError, match=expected) if expected else contextlib.nullcontext()
        with refused:
            scan(body)
    assert len(verdicts) == 3


def test_an_unclosed_quote_in_a_large_file_is_refused_too(monkeypatch):
    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 200)
    body = to_csv([row(f"v{i}") for i in range(50)]).replace(b"v3,2026", b'v3,"2026')
    with pytest.raises(DataError, match=r"line 5.*in s3://"):
        select(body)
