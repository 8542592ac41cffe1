"""The benchmark's table: in the terminal, and in Markdown for the README."""

from rich import box
from rich.table import Table

from bench.result import Report, Row

_REACHED = {True: "yes", False: "no", None: ""}
_WHOLE_FROM = 100
_SHOWN = 3


def terminal_table(report: Report) -> Table:
    """One line for each row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    for name in ("what", "against", "to reach"):
        table.add_column(name, ratio=2)
    table.add_column("measured (min to max, runs)", justify="right", ratio=2)
    table.add_column("reached")
    for row in report.rows:
        style = "red" if row.reached is False else None
        table.add_row(row.what, row.against, row.target, measured(row), _REACHED[row.reached], style=style)
    for name, reason in report.not_measured.items():
        table.add_row(name, reason, "", "not measured", "")
    for name, error in report.failed.items():
        table.add_row(name, error, "", "failed", "", style="red")
    return table


def markdown(report: Report) -> str:
    """The block of the README: the table, notes and the profile of what was missed, what was not measured, the machine.

    Of a profile the largest entries are shown; the JSON file has all of them.
    """
    lines = ["| what | against | to reach | measured (min to max, runs) | reached |", "|---|---|---|---|---|"]
    for row in report.rows:
        cells = (row.what, row.against, row.target, f"**{measured(row)}**", _REACHED[row.reached])
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    said = {row.name: "; ".join(text for text in (row.note, profile_line(row)) if text) for row in report.rows}
    lines += ["", *(f"- {name}: {text}." for name, text in said.items() if text)]
    lines += [f"- {name}: not measured, {reason}." for name, reason in report.not_measured.items()]
    lines += [f"- {name}: failed, {error}." for name, error in report.failed.items()]
    lines += ["", machine_line(report)]
    return "\n".join(lines) + "\n"


def measured(row: Row) -> str:
    """The figure with its unit, spread and runs: ``31.4 x faster (30 to 33.1, 3 runs)``."""
    runs = "1 run" if row.runs == 1 else f"{row.runs} runs"
    low, high = (figure(value) for value in row.spread)
    spread = "" if low == high else f"{low} to {high}, "
    return f"{figure(row.measured)} {row.unit} ({spread}{runs})"


def profile_line(row: Row) -> str:
    """Where most of it went, if the row has a profile: ``profile: phase update 1.9 s, CPU of the S3 server 1.2 s``."""
    largest = sorted(row.profile.items(), key=lambda entry: -entry[1])[:_SHOWN]
    shown = ", ".join(f"{name} {figure(value)} {row.profile_unit}" for name, value in largest)
    return f"profile: {shown}" if shown else ""


def figure(value: float) -> str:
    """Three significant digits, and no fewer than the whole part has."""
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def machine_line(report: Report) -> str:
    """When and on what, in one sentence."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    gpu = f", {machine.gpu}" if machine.gpu else ""
    return (
        f"Measured {report.started_at[:10]} in {report.seconds / 60:.0f} minutes on {machine.cores} cores of "
        f"{machine.cpu}, {machine.memory_gib:g} GiB{gpu}, {machine.system}, S3 server on the same machine; {versions}."
    )
