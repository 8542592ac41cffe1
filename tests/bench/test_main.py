"""The command, at sizes that show only that it works."""

import sys
import threading

import pytest
from typer.testing import CliRunner

from bench import __main__ as command
from bench.plan import FULL
from bench.report import markdown
from bench.result import Report, partial, read_report, write_report
from bench.rows import ROWS
from bench.rows.gpu import gpu
from clipfarm_tasks.errors import DataError

RUNNER = CliRunner()


def refused(*_):
    pytest.fail("an assembly is measured as it is, under no profiler of Python's")


def test_some_rows_run_at_tiny_sizes_and_one_that_cannot_says_why(tmp_path, monkeypatch):
    for profiler in (sys, threading):
        # Many threads under cProfile, with a clock of Python's, once did not come back.
        monkeypatch.setattr(profiler, "setprofile", refused)
    monkeypatch.setattr("cProfile.Profile", refused)
    output, state = tmp_path / "report.json", tmp_path / "state"
    chosen = [option for name in ("gpu", "cold", "incremental") for option in ("--only", name)]
    done = RUNNER.invoke(command.app, ["--quick", *chosen, "--output", str(output), "--state", str(state)])
    assert done.exit_code == 0, done.output
    report = Report.model_validate_json(output.read_bytes())
    assert report.not_measured.keys() == {"gpu"}
    assert "expected a CUDA device" in report.not_measured["gpu"]
    assert [row.name for row in report.rows] == ["cold assembly, baseline", "cold assembly, floor", "warm", "tenth new"]
    assert all(row.measured > 0 and row.spread[0] <= row.measured <= row.spread[1] for row in report.rows)
    for row in report.rows:
        assert row.reached or "reconstruct_modalities" in row.profile, "a miss is explained"
    assert [path.name for path in state.iterdir()] == ["lock"], "gigabytes are not left behind"


def test_a_row_that_fails_is_told_and_the_others_are_measured(report, tmp_path, monkeypatch):
    def breaks(_):
        raise DataError("expected rows, got none")

    rows = {"broken": breaks, "elsewhere": gpu, "sound": lambda _: list(report.rows)}
    monkeypatch.setattr("bench.measure.ROWS", rows)
    output = tmp_path / "report.json"
    done = RUNNER.invoke(command.app, ["--quick", "--output", str(output), "--state", str(tmp_path / "state")])
    assert done.exit_code == 1
    written = read_report(output)
    assert written.failed == {"broken": "expected rows, got none"}
    assert written.not_measured.keys() == {"elsewhere"}
    assert written.rows == report.rows
    assert not partial(output).exists()


def test_an_unforeseen_error_leaves_the_rows_before_it(report, tmp_path, monkeypatch):
    def breaks(_):
        raise ZeroDivisionError

    monkeypatch.setattr("bench.measure.ROWS", {"sound": lambda _: list(report.rows), "broken": breaks})
    output = tmp_path / "report.json"
    done = RUNNER.invoke(command.app, ["--quick", "--output", str(output), "--state", str(tmp_path / "state")])
    assert isinstance(done.exception, ZeroDivisionError)
    assert read_report(partial(output)).rows == report.rows
    assert not output.exists()


def test_an_unknown_row_is_refused(tmp_path):
    done = RUNNER.invoke(command.app, ["--only", "speed", "--state", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected rows out of cold, " in done.output


def test_readme_prints_the_newest_report(report, tmp_path, monkeypatch):
    write_report(report, tmp_path / "2026-11-22.json")
    monkeypatch.setattr(command, "newest", lambda: tmp_path / "2026-11-22.json")
    done = RUNNER.invoke(command.app, ["readme"])
    assert done.exit_code == 0
    assert done.stdout == markdown(report)


def test_readme_without_a_report_says_what_to_do(monkeypatch):
    monkeypatch.setattr(command, "newest", lambda: None)
    done = RUNNER.invoke(command.app, ["readme"])
    assert done.exit_code == 2
    assert "run make bench" in done.output


def test_the_sizes_are_those_the_table_names():
    assert (FULL.assembly_videos, FULL.epoch_videos, FULL.matrix_videos) == (4_000, 50_000, 4_000)
    assert FULL.growth_videos == (2_000, 10_000, 50_000)
    assert (FULL.width, FULL.real) == (768, True)
    assert FULL.repeats >= 3
    assert list(ROWS) == ["cold", "incremental", "growth", "memory", "epochs", "matrix", "airflow", "gpu"]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
