import json

import pytest
from pydantic import ValidationError

from bench.result import Row, newest, read_report, write_report


def test_a_report_survives_its_file(report, tmp_path):
    path = tmp_path / "deep" / "2026-11-22.json"
    write_report(report, path)
    assert read_report(path) == report
    assert json.loads(path.read_text())["rows"][2]["reached"] is None


def test_every_field_of_a_row_is_described_and_no_other_is_taken(report):
    assert all(field.description for field in Row.model_fields.values())
    with pytest.raises(ValidationError, match="extra"):
        Row.model_validate(report.rows[0].model_dump() | {"speed": 1})


def test_the_newest_report_is_the_one_of_the_latest_date(tmp_path):
    assert newest(tmp_path) is None
    for name in ("2026-11-22.json", "2027-01-02.json", "2026-12-31.json", "README.md"):
        (tmp_path / name).touch()
    assert newest(tmp_path).name == "2027-01-02.json"
