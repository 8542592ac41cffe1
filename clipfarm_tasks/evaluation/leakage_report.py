"""What the leakage probes of one horizon found, as its document tells it."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.families import Horizon

_MOST_NAMED = 10


class Probe(StrEnum):
    """What is looked for."""

    REPEATED_IDS = "repeated_ids"
    TWINS = "twins"
    SINGLE_FEATURE = "single_feature"
    MISSINGNESS = "missingness"
    SHUFFLED_LABELS = "shuffled_labels"
    PARTS_TOLD_APART = "parts_told_apart"
    MOVED_COUNTERS = "moved_counters"


class Verdict(StrEnum):
    """What follows: nothing, a word on the leaderboard that nobody can tell or what was seen, or a gate that closes."""

    CLEAN = "clean"
    UNKNOWN = "unknown"
    NOTED = "noted"
    LEAK = "leak"


class LeakageFinding(Frozen):
    """The result of one probe."""

    probe: Probe = Field(description="What was looked for")
    verdict: Verdict = Field(description="What follows")
    measured: float | None = Field(description="The statistic; null where there are too few rows to tell")
    limit: float = Field(description="Largest value that is no leak")
    names: tuple[str, ...] = Field(
        default=(), description="Features or videos it was found in, worst first, at most 10"
    )
    count: int = Field(default=0, description="How many features or videos those are, the unnamed ones included")
    says: str = Field(description="Rule, value, object, and what to do about it")


class LeakageReport(Frozen):
    """The results of every probe that a horizon could be given."""

    horizon: Horizon = Field(description="Days")
    findings: tuple[LeakageFinding, ...] = Field(description="One for each probe")

    def leaks(self) -> tuple[LeakageFinding, ...]:
        """What the gate does not let pass."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.LEAK)


def finding(
    probe: Probe, measured: float | None, limit: float, rule: str, advice: str, objects: Sequence[tuple[str, str]] = ()
) -> LeakageFinding:
    """A leak if more than ``limit`` was measured, else noted if there are objects; unknown if nothing was measured.

    Args:
        probe: what was looked for.
        measured: the statistic, None where it is not known.
        limit: largest value that is no leak.
        rule: what is expected, with the limit.
        advice: what to do about a leak.
        objects: features or videos, worst first, each with what was measured of it, or an empty text.
    """
    if measured is None:
        verdict, value = Verdict.UNKNOWN, "too little to measure"
    else:
        verdict = Verdict.LEAK if measured > limit else Verdict.NOTED if objects else Verdict.CLEAN
        value = f"{measured:.3g}"
    named = ", ".join(f"{name} {value}".rstrip() for name, value in objects[:_MOST_NAMED])
    where = f" in {len(objects)} ({named}{', ...' if len(objects) > _MOST_NAMED else ''})" if objects else ""
    return LeakageFinding(
        probe=probe,
        verdict=verdict,
        measured=measured,
        limit=limit,
        names=tuple(name for name, _ in objects[:_MOST_NAMED]),
        count=len(objects),
        says=f"expected {rule}, got {value}{where}" + (f": {advice}" if verdict is Verdict.LEAK else ""),
    )
