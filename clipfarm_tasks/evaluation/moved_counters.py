"""Probe for counters of the audience that were read later than the features are said to be."""

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, Probe, finding


def moved_counters(report: MetadataReport, feature_set: FeatureSet) -> LeakageFinding | None:
    """Share of the videos with several captures whose counters are others than those nearest to the publication.

    ``v3`` promises that capture: any difference is a leak. ``v1_training_suite`` and ``v2_log_counts`` take the latest
    capture by contract, which may tell the outcome: it is noted. Where every video has one capture, nothing can be
    compared and nobody knows.

    Returns:
        None where the metadata was filtered by an earlier release, which did not compare captures.
    """
    if report.captures_compared is None:
        return None
    moved = sorted(report.counters_moved.items(), key=lambda item: (-item[1], item[0]))
    return finding(
        Probe.MOVED_COUNTERS,
        max(report.counters_moved.values(), default=0.0) if report.captures_compared else None,
        0.0 if feature_set is FeatureSet.V3 else 1.0,
        f"{feature_set} to have audience counters of the capture nearest to publication (share of the "
        f"{report.captures_compared} videos with several captures that have another value)",
        "the features know the future: do not trust this run, and report it",
        [(name, f"{share:.2f}") for name, share in moved if share],
    )
