"""Which keys of a manifest are upstream's."""

import pyarrow as pa
import pytest

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason
from clipfarm_tasks.vectors.upstream_keys import UpstreamKeys

KEYS = UpstreamKeys("up/a.b/,other/")
INSIDE = ["up/a.b/x.npy", "other/x", "other/date=1/part-0.npz", "other/..x/...", "other/.x", "other/a b/\u00e9"]
ELSEWHERE = [
    *("up/x", "up/aXb/x", "airflow/logs/x", "/other/x", "xother/x", "s3://bucket/other/x", "Other/x", "other"),
    *("other/", "other//x", "other/./x", "other/../x", "other/x/..", "other/x/", "other/x/../../up/a.b/x"),
]


@pytest.mark.parametrize("key", INSIDE)
def test_key_inside_passes(key):
    KEYS.check(key)


@pytest.mark.parametrize("key", ELSEWHERE)
def test_key_elsewhere_is_refused_by_name(key):
    with pytest.raises(BadVectorError, match="expected a key below up/a.b/,other/, got ") as refused:
        KEYS.check(key)
    assert refused.value.reason is Reason.FOREIGN_KEY
    assert refused.value.detail.endswith(key)


def test_columns_are_judged_alike():
    names = pa.chunked_array([INSIDE, ELSEWHERE, [""]])
    assert KEYS.inside(names).to_pylist() == [*INSIDE, *[""] * (len(ELSEWHERE) + 1)]
