"""How large each data set of the benchmark is, and how often a run is repeated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of one benchmark.

    Attributes:
        real: take the real set for the assembly rows where it is there.
        assembly_videos: synthetic videos of the assembly rows otherwise.
        growth_videos: synthetic videos of the growth row, ascending; memory is measured at the last.
        epoch_videos: videos whose train and validation parts make one epoch.
        matrix_videos: synthetic videos of the matrix and of the run through Airflow.
        matrix_baseline_videos: of so many of them the baseline assembles the modalities, and is scaled.
        width: width of each modality of the synthetic sets, in columns.
        repeats: runs of everything that takes less than a minute; more than a minute: one run.
        max_epochs: most epochs of the matrix.
        airflow_limit_s: seconds the run through Airflow may take.
    """

    real: bool
    assembly_videos: int
    growth_videos: tuple[int, ...]
    epoch_videos: int
    matrix_videos: int
    matrix_baseline_videos: int
    width: int
    repeats: int
    max_epochs: int
    airflow_limit_s: float


FULL = Plan(
    real=True,
    assembly_videos=4_000,
    growth_videos=(2_000, 10_000, 50_000),
    epoch_videos=50_000,
    matrix_videos=4_000,
    matrix_baseline_videos=1_000,
    width=768,
    repeats=3,
    max_epochs=40,
    airflow_limit_s=900.0,
)
# Shows that every row works; its figures say nothing.
QUICK = Plan(
    real=False,
    assembly_videos=80,
    growth_videos=(60, 120, 240),
    epoch_videos=600,
    matrix_videos=80,
    matrix_baseline_videos=40,
    width=16,
    repeats=1,
    max_epochs=2,
    airflow_limit_s=300.0,
)
