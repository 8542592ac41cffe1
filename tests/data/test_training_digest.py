import hashlib

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.data.training_digest import data_digests

ROWS = 6


@pytest.fixture
def arguments():
    rng = np.random.default_rng(0)
    return {
        "rows": pd.DataFrame({"video_id": list("abcdef"), "split": ["train"] * 4 + ["val", "test"]}),
        "metadata": pd.DataFrame({"views": [1.0, np.nan, 3, 4, 5, 6], "country": ["US", None, "DE", "US", "IN", "BR"]}),
        "text_present": np.array([1, 0, 1, 1, 1, 1], "f4"),
        "vectors": {"fused": rng.normal(size=(ROWS, 3)).astype("f4"), "text": rng.normal(size=(ROWS, 2)).astype("f4")},
        "target": rng.normal(size=ROWS).astype("f4"),
    }


def test_target_digest_is_that_of_its_type_shape_and_bytes(arguments):
    expected = hashlib.sha256(b"<f4(6,)" + arguments["target"].tobytes()).hexdigest()
    assert data_digests(**arguments).of(("fused",)).target == expected


def test_same_data_same_digests_wherever_the_arrays_live(arguments, tmp_path):
    first = data_digests(**arguments)
    mapped = np.memmap(tmp_path / "x", dtype="f4", mode="w+", shape=(ROWS, 3))
    mapped[:] = arguments["vectors"]["fused"]
    assert data_digests(**arguments | {"vectors": arguments["vectors"] | {"fused": mapped}}) == first


CHANGES = {
    "video": lambda a: a["rows"].__setitem__("video_id", list("abcdeg")),
    "part": lambda a: a["rows"].__setitem__("split", ["train"] * 3 + ["val", "val", "test"]),
    "number": lambda a: a["metadata"].__setitem__("views", [1.0, np.nan, 3, 4, 5, np.nextafter(6, 7)]),
    "missing number": lambda a: a["metadata"].__setitem__("views", [1.0, 0, 3, 4, 5, 6]),
    "category": lambda a: a["metadata"].__setitem__("country", ["US", None, "DE", "US", "IN", "IN"]),
    "missing category": lambda a: a["metadata"].__setitem__("country", ["US", "", "DE", "US", "IN", "BR"]),
    "name of a column": lambda a: a.__setitem__("metadata", a["metadata"].rename(columns={"views": "likes"})),
    "text_present": lambda a: a["text_present"].__setitem__(0, 0),
    "vector": lambda a: a["vectors"]["fused"].__setitem__((5, 2), 9),
    "order of vectors": lambda a: a["vectors"].__setitem__("fused", a["vectors"]["fused"][::-1].copy()),
    "shape of vectors": lambda a: a["vectors"].__setitem__("fused", a["vectors"]["fused"].reshape(3, 6)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_feature_is_another_digest(arguments, change):
    before = data_digests(**arguments).of(("fused",))
    CHANGES[change](arguments)
    after = data_digests(**arguments).of(("fused",))
    assert after.features != before.features
    assert after.target == before.target
    assert after.joint != before.joint


def test_another_target_changes_only_its_own_digest(arguments):
    before = data_digests(**arguments).of(("fused",))
    arguments["target"][0] += 1
    after = data_digests(**arguments).of(("fused",))
    assert (after.features == before.features, after.target == before.target) == (True, False)
    assert after.joint != before.joint


def test_vectors_a_family_does_not_see_make_no_difference(arguments):
    before = data_digests(**arguments)
    arguments["vectors"]["text"][:] = 0
    after = data_digests(**arguments)
    assert after.of(("fused",)) == before.of(("fused",))
    assert after.of(("text",)) != before.of(("text",))
    assert before.of(("fused",)) != before.of(("text",))


def test_mark_of_a_missing_cell_makes_no_difference(arguments):
    before = data_digests(**arguments)
    negative = np.array([0xFFF8000000000001], dtype="u8").view("f8")[0]
    arguments["metadata"] = pd.DataFrame(
        {"views": [1.0, negative, 3, 4, 5, 6], "country": pd.array(["US", None, "DE", "US", "IN", "BR"], "string")}
    )
    assert data_digests(**arguments) == before
