import io

import pytest
from rich.console import Console

from bench.report import figure, markdown, measured, terminal_table


def test_a_figure_has_three_digits_or_all_of_its_whole_part():
    assert [figure(value) for value in (0.04567, 1.5, 31.42, 99.94, 100.4, 12345.6)] == [
        "0.0457",
        "1.5",
        "31.4",
        "99.9",
        "100",
        "12,346",
    ]


def test_a_measured_figure_shows_unit_spread_and_runs(report):
    assert measured(report.rows[0]) == "31.4 x faster (30 to 33.1, 3 runs)"
    assert measured(report.rows[1]) == "1,234 MB (1 run)"


def test_the_markdown_has_one_line_per_row_then_notes_then_the_machine(report):
    lines = markdown(report).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(report.rows)
    assert table[2] == (
        "| cold assembly | first script | ≥ 25 x faster | **31.4 x faster (30 to 33.1, 3 runs)** | yes |"
    )
    assert table[3].endswith("| no |")
    assert {line.count("|") for line in table} == {6}, "a cell must not open another one"
    assert "- cold: the arrays are equal." in lines
    assert "- peak: profile: update 700 MB, imports 300 MB, read 234 MB." in lines
    assert "- gpu: not measured, no CUDA device." in lines
    assert "- epochs: failed, out of memory." in lines
    assert lines[-1].startswith("Measured 2026-11-22 in 10 minutes on 2 cores of A CPU, 8 GiB, Linux 6,")


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_shows_every_row_and_what_was_not_measured(report, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(report))
    shown = console.file.getvalue()
    assert shown.count("yes") == 1
    assert all(text in shown for text in ("31.4", "1,234 MB", "not measured", "gpu", "failed", "epochs"))
