"""A second run against a cold one: on unchanged input, and on input with a tenth of the videos new."""

import io

import pandas as pd

from bench.assembly import Assembled, assemble, phases_line
from bench.baseline import latest_rows
from bench.buckets import DataSet
from bench.result import Row
from bench.rows.cold_runs import cold_runs
from bench.sample import Sample, ratio, repeated
from bench.workbench import Workbench
from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Strategy

WARM = 0.05
TENTH = 0.15
NEW_FRACTION = 0.1


def incremental(bench: Workbench) -> list[Row]:
    """Two rows: nothing changed, and a tenth of the videos new."""
    return [_warm(bench), _tenth_new(bench)]


def _warm(bench: Workbench) -> Row:
    cold, data_set = cold_runs(bench), bench.assembly_set()
    data_set.clear()
    assemble(data_set.store)
    found: list[Assembled] = []

    def run() -> float:
        found.append(assemble(data_set.store))
        return found[-1].seconds

    warm = repeated(run, bench.plan.repeats)
    if found[-1].objects:
        raise DataError(f"expected no object fetched on unchanged input, got {found[-1].objects}, in the warm run")
    bench.say(f"warm: {warm.median:.2f} s")
    what = f"assembly of {data_set.label}, nothing changed"
    note = f"{phases_line(found[-1].seconds_by_phase)}; a new run; no object was fetched"
    return fraction_row("warm", what, WARM, warm, cold.seconds, found[-1].seconds_by_part, note)


def _tenth_new(bench: Workbench) -> Row:
    cold, data_set = cold_runs(bench), bench.assembly_set()
    manifests = {strategy: data_set.store.get(keys.fused_manifest(strategy)) for strategy in Strategy}
    found: list[Assembled] = []

    def run() -> float:
        _put_manifests(data_set, manifests)
        found.append(assemble(data_set.store))
        return found[-1].seconds

    def start_without_them() -> None:
        data_set.clear()
        _put_manifests(data_set, {name: without_newest(body) for name, body in manifests.items()})
        assemble(data_set.store)

    seconds = repeated(run, bench.plan.repeats, prepare=start_without_them)
    bench.say(f"a tenth new: {seconds.median:.2f} s")
    what = f"assembly of {data_set.label}, 10 % of them new"
    phases = phases_line(found[-1].seconds_by_phase)
    note = f"{phases}; {found[-1].objects:,} objects fetched; the new videos are those of the last shards"
    return fraction_row("tenth new", what, TENTH, seconds, cold.seconds, found[-1].seconds_by_part, note)


def fraction_row(
    name: str, what: str, limit: float, seconds: Sample, cold: Sample, profile: dict[str, float], note: str
) -> Row:
    """The row of an assembly that may take only that fraction of a cold one; both in seconds."""
    found = ratio(seconds, cold)
    return Row(
        name=name,
        what=what,
        against="cold assembly",
        target=f"≤ {limit:.0%} of cold".replace("%", " %"),
        measured=100 * found.value,
        unit="% of cold",
        spread=(100 * found.spread[0], 100 * found.spread[1]),
        runs=found.runs,
        reached=found.value <= limit,
        note=note,
        values={"seconds_s": seconds.median, "cold_s": cold.median},
        profile=profile if found.value > limit else {},
    )


def _put_manifests(data_set: DataSet, manifests: dict[Strategy, bytes]) -> None:
    for strategy, body in manifests.items():
        data_set.store.put(keys.fused_manifest(strategy), body)


def without_newest(manifest: bytes) -> bytes:
    """A manifest without the tenth of its videos whose current rows are the last of the last shards."""
    rows = pd.read_parquet(io.BytesIO(manifest))
    current = latest_rows(io.BytesIO(manifest)).sort_values(["fused_key", "shard_idx"])
    new = current["video_id"].tail(round(NEW_FRACTION * len(current)))
    buffer = io.BytesIO()
    rows[~rows["video_id"].isin(new)].to_parquet(buffer, index=False)
    return buffer.getvalue()
