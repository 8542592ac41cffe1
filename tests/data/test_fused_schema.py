import json

import pytest

from clipfarm_tasks.data.fused_schema import read_fused_schema
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Modality

WHERE = "s3://b/schema.json"
GOOD = {"video_dim": 768, "audio_dim": 512, "text_dim": 384, "fused_dim": 1665}


def test_widths_by_modality_and_unknown_fields_are_ignored():
    schema = read_fused_schema(json.dumps(GOOD | {"mask_appended": True, "updated_at": "x", "new": 1}).encode(), WHERE)
    assert schema.fused_dim == 1665
    assert schema.modality_widths == {Modality.VIDEO: 768, Modality.AUDIO: 512, Modality.TEXT: 384}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null"])
def test_what_is_not_a_json_object_is_refused(body):
    with pytest.raises(DataError, match=r"expected the declared widths as positive integers, got .*, in s3://b/schema"):
        read_fused_schema(body, WHERE)


@pytest.mark.parametrize("width", [0, -1, 1.5, "wide", None])
def test_every_bad_width_is_named(width):
    body = json.dumps(GOOD | {"video_dim": width, "fused_dim": width}).encode()
    with pytest.raises(DataError, match="video_dim: .*; fused_dim: "):
        read_fused_schema(body, WHERE)


def test_absent_width_is_named():
    body = json.dumps({name: width for name, width in GOOD.items() if name != "text_dim"}).encode()
    with pytest.raises(DataError, match="text_dim: Field required"):
        read_fused_schema(body, WHERE)
