"""A report that was not measured: rows that reach, miss, and have nothing to reach."""

import pytest

from bench.result import Machine, Report, Row


def row(**changes):
    fields = {
        "name": "cold",
        "what": "cold assembly",
        "against": "first script",
        "target": "≥ 25 x faster",
        "measured": 31.42,
        "unit": "x faster",
        "spread": (30.0, 33.1),
        "runs": 3,
        "reached": True,
    }
    return Row(**fields | changes)


@pytest.fixture
def report():
    rows = (
        row(note="the arrays are equal"),
        row(
            name="peak",
            what="peak|memory",
            measured=1234.5,
            unit="MB",
            spread=(1234.5, 1234.5),
            runs=1,
            reached=False,
            profile={"imports": 300.0, "resolve": 0.5, "update": 700.0, "read": 234.0},
            profile_unit="MB",
        ),
        row(name="airflow", target="", reached=None),
    )
    machine = Machine(cpu="A CPU", cores=2, memory_gib=8.0, system="Linux 6", gpu="", versions={"python": "3.11.9"})
    return Report(
        started_at="2026-11-22T10:00:00+00:00",
        seconds=600.0,
        commit="abc",
        machine=machine,
        rows=rows,
        not_measured={"gpu": "no CUDA device"},
        failed={"epochs": "out of memory"},
    )
