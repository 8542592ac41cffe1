"""The parts of docs/deploy.md that are computed. ``python -m tests.deploy.blocks`` writes them."""

import math
from pathlib import Path

from clipfarm_tasks.deployment import alerts
from clipfarm_tasks.deployment.alerts import AlertSettings
from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.families import PRESETS, Family
from tests.deploy.figures import (
    GETS_PER_PREFIX,
    LISTED_AT_ONCE,
    NEW,
    NIGHT_H,
    SIZES,
    figures,
    gpu_jobs,
    limits,
    most_epochs,
    newest_result,
)

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "deploy.md"


def blocks(root=ROOT):
    """Every computed block by its name."""
    source, result = newest_result(root)
    found = figures(result)
    return {
        "settings": _settings({f"{PREFIX}{name.upper()}": name for name in PodSettings.model_fields}, PodSettings),
        "alerts": _settings({variable: name for name, variable in alerts._VARIABLES.items()}, AlertSettings),
        "units": _units(found, source, result),
        "sizes": _sizes(found),
        "limits": _limits(found, root),
    }


def written(text, contents):
    """The text with these contents between the markers of each block."""
    for name, content in contents.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        head, rest = text.split(begin)
        text = head + begin + content + end + rest.split(end)[1]
    return text


def _settings(fields, model):
    """A table of the settings that a model reads: its fields by their variables."""
    rows = [
        (f"`{variable}`", model.model_fields[name].description, _default(name, model.model_fields[name]))
        for variable, name in fields.items()
    ]
    return _table(("variable", "meaning", "default"), rows)


def _default(name, field):
    if name in {"cpus", "memory_mib", "gpus"}:
        needs = {family: str(int(getattr(PRESETS[family].needs, name.replace("gpus", "gpu")))) for family in Family}
        if len(set(needs.values())) == 1:
            return f"`{next(iter(needs.values()))}`"
        return ", ".join(f"`{value}` for {family}" for family, value in needs.items())
    if field.is_required():
        return "required"
    if field.default is None or field.default in ({}, ()):
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _units(found, source, result):
    machine = result["machine"]
    rows = [
        ("objects per video", f"{found.objects:.2f}", "cold assembly of real videos: a few have no text"),
        ("bytes read per new video", _bytes(found.object_bytes), f"growth, bytes; {found.videos:,} videos"),
        ("objects read per second", f"{_round(found.objects_per_second):,g}", f"cold assembly; {found.cores} cores"),
        ("first night, per video", _time(found.cold_s), f"growth, time; {found.videos:,} videos, {found.cores} cores"),
        ("nothing new, per video", _time(found.warm_s), f"warm, {found.videos:,} videos"),
        (
            "memory of a worker",
            f"{_bytes(found.base_bytes)} + {_bytes(found.worker_bytes)} per video",
            "peak memory; one size and all tasks in one process, arrays included: an upper bound",
        ),
        (
            "vectors of a `concat` job, per video",
            _bytes(found.scratch_bytes),
            "computed: 3 modalities, a mask, and the text once more for the features of similar texts",
        ),
        ("an epoch of `concat_mlp`, per video", _time(found.epoch_s), f"epoch, concat_mlp; {found.cores} threads"),
        (
            "a first night, all 24 jobs, per video",
            f"{_time(found.core_s)} of one core",
            "matrix; from an empty bucket",
        ),
        ("Airflow itself, per run", _time(found.airflow_s), "airflow overhead, times its tasks"),
        (
            "read by the jobs, per video",
            _bytes(found.jobs_bytes),
            "peak memory: its arrays, read 6 times at most, and the texts 18 times more",
        ),
    ]
    head = (
        f"From `{source}`: {machine['cores']} cores, {machine['memory_gib']} GiB, the S3 server on the same machine. "
        f"Not measured: {', '.join(result['not_measured']) or 'nothing'}.\n\n"
    )
    return head + _table(("cost", "value", "row of the benchmark"), rows)


def _sizes(found):
    workers = {n: max(1, math.ceil(n * found.core_s / 3600 / NIGHT_H / found.cores)) for n in SIZES.values()}
    deadline_s = PodSettings.model_fields["active_deadline_s"].default
    epochs = most_epochs()

    def too_slow(n):
        return n * found.fit_s > deadline_s

    rows = [
        ("**first night**",),
        ("GET requests", lambda n: _count(n * found.objects)),
        ("bytes read", lambda n: _bytes(n * found.object_bytes)),
        (f"time on {found.cores} cores", lambda n: _time(n * found.cold_s)),
        (f"**later nights, {NEW:.0%} new**",),
        (
            f"LIST requests, {LISTED_AT_ONCE:,} keys each",
            lambda n: _count(math.ceil(n * found.objects / LISTED_AT_ONCE)),
        ),
        ("GET requests", lambda n: _count(n * found.objects * NEW)),
        ("bytes read", lambda n: _bytes(n * found.object_bytes * NEW)),
        (f"time on {found.cores} cores", lambda n: _time(n * (found.warm_s + NEW * found.cold_s))),
        ("bytes read by the jobs, at most", lambda n: _bytes(n * found.jobs_bytes)),
        ("**machines**",),
        ("memory of a worker pod, at most", lambda n: _bytes(found.base_bytes + n * found.worker_bytes)),
        ("`/tmp` of a `concat` job", lambda n: _bytes(n * found.scratch_bytes)),
        (
            f"one `concat_mlp` job, {epochs} epochs, {found.cores} cores",
            lambda n: _time(n * found.fit_s),
        ),
        ("first night with all 24 jobs, core hours", lambda n: f"{_round(n * found.core_s / 3600):,g}"),
        (f"pods of {found.cores} cores side by side, for {NIGHT_H} h", lambda n: f"{workers[n]:,}"),
        (
            "GPUs, one for each job that is too slow for them",
            lambda n: str(gpu_jobs()) if n * found.fit_s > deadline_s else "0",
        ),
        (
            f"times {found.cores} cores such a GPU must be, to end within {deadline_s:,} s",
            lambda n: f"{_round(n * found.fit_s / deadline_s):g}" if too_slow(n) else "-",
        ),
    ]
    cells = [
        (row[0], *(row[1](n) if len(row) > 1 else "" for n in SIZES.values()))  # a row without figures is a heading
        for row in rows
    ]
    return _table(("videos", *SIZES), cells)


def _limits(found, root):
    rows = [(name, _count(videos), remedy) for name, (videos, remedy) in limits(found, root).items()]
    rows.append((f"{GETS_PER_PREFIX:,} GET/s of a prefix", "never: one task reads, and slower", "nothing"))
    assert found.objects_per_second < GETS_PER_PREFIX
    return _table(("limit", "reached at, videos", "what to do"), rows)


def _table(head, rows):
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _round(value):
    return float(f"{value:.3g}")


def _count(value):
    return f"{_round(value):,.0f}"


def _bytes(value):
    power = min(4, int(math.log10(value) // 3))
    return f"{_round(value / 1000**power):g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(seconds):
    for unit, size, least in (("h", 3600, 7200), ("min", 60, 120), ("s", 1, 0.1), ("ms", 1e-3, 1e-4), ("us", 1e-6, 0)):
        if seconds >= least:
            return f"{_round(seconds / size):g} {unit}"
    raise AssertionError(seconds)


if __name__ == "__main__":
    GUIDE.write_text(written(GUIDE.read_text(), blocks()))
