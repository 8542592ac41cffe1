"""All 24 jobs by the pipeline against the same jobs that each assemble their own data and train row by row."""

from dataclasses import replace

from bench.baseline_job import BaselineJob, Videos, baseline_job
from bench.result import Row
from bench.rows.matrix_runs import MatrixRuns, matrix_runs, matrix_set
from bench.sample import Sample, ratio
from bench.table_read import table_read_s
from bench.workbench import Workbench
from clipfarm_tasks import keys
from clipfarm_tasks.families import Family, Horizon, Strategy

SPEEDUP = 10.0


def matrix(bench: Workbench) -> list[Row]:
    """One row. The baseline is measured on four jobs and scaled to 24, one after the other, as a first script does."""
    ours = matrix_runs(bench)
    everything = Videos(bench.plan.matrix_videos, bench.plan.matrix_videos)
    some = replace(everything, measured=bench.plan.matrix_baseline_videos)
    gated = _job(bench, ours, next(iter(Strategy)), Family.GATED_FUSION_MLP, some)
    fused = {strategy: _job(bench, ours, strategy, Family.CONCAT_MLP, everything) for strategy in Strategy}
    read_s = {strategy: table_read_s(matrix_set(bench), ours.run_id, strategy) for strategy in Strategy}
    one_by_one = scaled(ours.task_s, read_s, gated, fused)
    found = ratio(Sample((one_by_one,)), ours.seconds)
    missed = found.value < SPEEDUP
    return [
        Row(
            name="matrix",
            what=f"six pairs x four families on {bench.plan.matrix_videos:,} videos, no Airflow, "
            f"{ours.workers} processes, from an empty bucket to the leaderboard",
            against="the same 24 jobs one after the other, each assembling its own data by the first script and "
            "training row by row",
            target=f"≥ {SPEEDUP:g} x faster",
            measured=found.value,
            unit="x faster",
            spread=found.spread,
            runs=ours.seconds.runs,
            reached=not missed,
            note="baseline measured on 4 of the 24 jobs (gated_fusion_mlp, whose assembly was measured on "
            f"{some.measured:,} of the videos and scaled; concat_mlp of each strategy), once, and scaled: 6 gated and "
            "6 concat_mlp jobs as measured, 12 ridge and gbdt jobs as the assembly of their strategy and the "
            "pipeline's own task without its read of the vectors (read again alone); with "
            f"{ours.workers} of them side by side, if that did not slow them down, it would be "
            f"{found.value / ours.workers:.1f} x",
            values={
                "pipeline_s": ours.seconds.median,
                "baseline_one_by_one_s": one_by_one,
                "gated_assembly_s": gated.assembly_s,
                "gated_training_s": gated.training_s,
                **{f"{strategy}_assembly_s": job.assembly_s for strategy, job in fused.items()},
                **{f"{strategy}_training_s": job.training_s for strategy, job in fused.items()},
                **{f"{strategy}_table_read_s": seconds for strategy, seconds in read_s.items()},
            },
            profile=ours.by_step() if missed else {},
        )
    ]


def scaled(
    task_s: dict[str, float], read_s: dict[Strategy, float], gated: BaselineJob, fused: dict[Strategy, BaselineJob]
) -> float:
    """Seconds of all 24 jobs of the baseline, one after the other.

    Args:
        task_s: wall time of the pipeline's tasks by id; of ridge and gbdt it counts, beside their assembly.
        read_s: what such a task spends on reading the fused vectors, by strategy; that the baseline does not.
        gated: the measured job of the gated family.
        fused: the measured jobs of concat_mlp by strategy.
    """
    total = 0.0
    for horizon in Horizon:
        for strategy, job in fused.items():
            total += gated.seconds + job.seconds
            for family in (Family.RIDGE, Family.GBDT):
                total += job.assembly_s + task_s[keys.task_id("train", strategy, horizon, family)] - read_s[strategy]
    return total


def _job(bench: Workbench, ours: MatrixRuns, strategy: Strategy, family: Family, videos: Videos) -> BaselineJob:
    job = baseline_job(matrix_set(bench), bench.boto_client(), bench.folder, ours.run_id, strategy, family, videos)
    bench.say(
        f"baseline {strategy} {family}: assembly {job.assembly_s:.1f} s, {job.epochs} epochs {job.training_s:.1f} s"
    )
    return job
