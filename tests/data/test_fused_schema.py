import json

import pytest

from clipfarm_tasks.data.fused_schema import FusedSchema
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.storage.documents import parse_document

WHERE = "s3://b/schema.json"
GOOD = {"video_dim": 768, "audio_dim": 512, "text_dim": 384, "fused_dim": 1665}


def read(document):
    return parse_document(FusedSchema, json.dumps(document).encode(), WHERE)


def test_widths_by_modality_and_unknown_fields_are_ignored():
    schema = read(GOOD | {"mask_appended": True, "updated_at": "x", "new": 1})
    assert schema.fused_dim == 1665
    assert schema.modality_widths == {Modality.VIDEO: 768, Modality.AUDIO: 512, Modality.TEXT: 384}


@pytest.mark.parametrize("width", [0, -1, 1.5, "wide", None])
def test_every_bad_width_is_named(width):
    with pytest.raises(DataError, match="video_dim: .*; fused_dim: .*, in s3://b/schema.json"):
        read(GOOD | {"video_dim": width, "fused_dim": width})


def test_absent_width_is_named():
    with pytest.raises(DataError, match="text_dim: Field required"):
        read({name: width for name, width in GOOD.items() if name != "text_dim"})
