import json

import pytest
from pydantic import BaseModel

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.storage.documents import parse_document


class Widths(BaseModel):
    video: int
    audio: int


def test_a_document_survives_the_journey():
    assert parse_document(Widths, Widths(video=1, audio=2).model_dump_json().encode(), "s3://b/k").audio == 2


class Inner(Frozen):
    rows: int


class Outer(Frozen):
    inner: Inner


def test_a_field_of_another_version_is_left_out():
    body = b'{"inner": {"rows": 3, "columns": 4}, "since": "later"}'
    assert parse_document(Outer, body, "s3://b/k") == Outer(inner=Inner(rows=3))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b"{}"])
def test_anything_else_is_one_sentence_with_kind_and_object(body):
    with pytest.raises(DataError, match=r"^expected a valid Widths, got .*, in s3://b/k$") as info:
        parse_document(Widths, body, "s3://b/k")
    assert "\n" not in str(info.value)


def test_every_wrong_field_is_named():
    with pytest.raises(DataError, match="video: .*; audio: Field required"):
        parse_document(Widths, json.dumps({"video": "wide"}).encode(), "s3://b/k")
