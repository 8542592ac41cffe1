"""Limits on what a run may lose on the way from upstream's objects to its rows."""

from collections.abc import Mapping

from clipfarm_tasks.errors import DataError


def check_lost(lost: Mapping[str, int], total: int, limit: float, where: str) -> None:
    """Refuse to go on with too few of the rows or of the labelled videos.

    Args:
        lost: those that cannot be used, by reason.
        total: all of them, the lost ones included.
        limit: largest accepted fraction, 0 to 1 (``max_lost_fraction``).
        where: what they were lost from, for the message.

    Raises:
        DataError: more than ``limit`` of them are lost; tells the counts by reason.
    """
    count = sum(lost.values())
    if count > limit * total:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(lost.items()))
        raise DataError(
            f"expected at most max_lost_fraction = {limit:g} of the rows or labelled videos lost, got {count} of "
            f"{total} ({reasons}), in {where}"
        )


def check_text(present: int, named: int, usable: int, before: float | None, limit: float, where: str) -> None:
    """Refuse to go on if the text vectors have gone.

    Args:
        present: usable videos with a text vector.
        named: usable videos whose manifest names a text vector.
        usable: usable videos.
        before: fraction of the usable videos that had a text vector in the last complete run; None if there is none.
        limit: largest accepted loss, as a fraction of what is named or was there before, 0 to 1 (``max_text_loss``).
        where: the vector table, for the message.

    Raises:
        DataError: more than ``limit`` is lost.
    """
    if named - present > limit * named:
        raise DataError(
            f"expected at most max_text_loss = {limit:g} of the text vectors that the manifests name to be missing, "
            f"got {named - present} of {named} missing, in {where}"
        )
    expected = 0 if before is None else before * usable
    if before is not None and expected - present > limit * expected:
        raise DataError(
            f"expected at most max_text_loss = {limit:g} less text than in the last complete run, where {before:.1%} "
            f"of the videos had a text vector, got {present} of {usable} ({present / usable:.1%}), in {where}"
        )
