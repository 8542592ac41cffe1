"""What the benchmark writes: one row for each line of its table, and the machine it ran on."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from clipfarm_tasks.config import Frozen

RESULTS = Path(__file__).parent / "results"

# Nine digits are more than any clock here can tell, and keep the files readable.
Figure = Annotated[float, AfterValidator(lambda value: float(f"{value:.9g}"))]


class Row(Frozen):
    """One comparison."""

    name: str = Field(description="Short name, unique in a report")
    what: str = Field(description="What was measured")
    against: str = Field(description="What it is compared with")
    target: str = Field(description="What is to be reached; empty where a figure is only to be stated")
    measured: Figure = Field(description="Median over the runs, in `unit`")
    unit: str = Field(description="Unit of `measured` and `spread`")
    spread: tuple[Figure, Figure] = Field(description="Smallest and largest over the runs, in `unit`")
    runs: int = Field(ge=1, description="Runs; of two sides, those of the side that was run less often")
    reached: bool | None = Field(description="Whether the target is reached; null where there is none")
    note: str = Field(default="", description="How it was measured, where that needs saying")
    values: dict[str, Figure] = Field(default={}, description="The figures behind it; each name ends in its unit")
    profile: dict[str, Figure] = Field(
        default={}, description="Of a missed target: where the time or the memory went, in `profile_unit`"
    )
    profile_unit: str = Field(default="s", description="Unit of `profile`")


class Machine(Frozen):
    """Where the benchmark ran."""

    cpu: str = Field(description="CPU model")
    cores: int = Field(description="Cores this process may use")
    memory_gib: float = Field(description="Memory, GiB")
    system: str = Field(description="Operating system and kernel")
    gpu: str = Field(description="GPU model; empty where torch sees none")
    versions: dict[str, str] = Field(description="Versions of Python, the S3 server and the libraries")


class Report(Frozen):
    """One run of the benchmark."""

    started_at: str = Field(description="UTC, ISO 8601")
    seconds: float = Field(description="Wall time of the whole benchmark")
    commit: str = Field(description="Commit that was measured")
    machine: Machine = Field(description="Where")
    rows: tuple[Row, ...] = Field(description="In the order of the table")
    not_measured: dict[str, str] = Field(default={}, description="Why, by row that this machine cannot measure")
    failed: dict[str, str] = Field(default={}, description="The error, by row that ended in one")


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.model_dump_json(indent=2) + "\n")


def partial(path: Path) -> Path:
    """Where a report is while it is measured: beside its place, and not taken for a report."""
    return path.with_name(f"{path.name}.partial")


def read_report(path: Path) -> Report:
    """Read what `write_report` wrote."""
    return Report.model_validate_json(path.read_bytes())


def newest(folder: Path = RESULTS) -> Path | None:
    """The latest of the dated reports of a folder, None when there is none."""
    return max(folder.glob("*.json"), default=None)
