"""ETags that mean the same content are equal, however they are written."""

import pyarrow as pa
import pytest

from clipfarm_tasks.storage.etags import canonical
from clipfarm_tasks.storage.listing import canonical_column

MD5 = "9dd4e461268c8034f5c8564e155c67a6"


@pytest.mark.parametrize("value", [MD5, f"{MD5}-12"])
@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', "&quot;{}&quot;", ' "{}"\n'])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_one_value_is_one_text(value, form, case):
    assert canonical(form.format(case(value))) == f'"{value}"'
    assert canonical_column(pa.array([f'"{value}"', form.format(case(value))])).to_pylist() == [f'"{value}"'] * 2


@pytest.mark.parametrize("none", [None, "", '""', " "])
def test_no_etag_is_empty(none):
    assert canonical(none) == ""
    assert canonical_column(pa.array([none], pa.string())).to_pylist() == [""]


def test_what_is_no_number_keeps_its_case():
    assert canonical('"Version-A"') != canonical('"version-a"')
    assert canonical('"abc"') != canonical('"abd"')
