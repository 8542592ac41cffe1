"""Fused manifest in, the latest row of each video out."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord
from clipfarm_tasks.data import manifest
from clipfarm_tasks.errors import MissingObjectError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.steps.context import StepContext


def resolve_manifest(context: StepContext, strategy: Strategy) -> ManifestRecord:
    """Read the pinned manifest of a strategy and write its current rows.

    Raises:
        MissingObjectError: the manifest was absent when the run was resolved.
        ChangedObjectError: the run's copy of it was overwritten.
        DataError: it breaks a rule, or has no row of the strategy.
    """
    where = context.store.uri(keys.fused_manifest(strategy))
    pinned = context.config.inputs.manifests.get(strategy)
    if pinned is None:
        raise MissingObjectError(
            f"expected the fused manifest of strategy {strategy} at {where}, got no object when the run was resolved: "
            "once upstream has written it, start a new run or clear this one from resolve_run"
        )
    resolved = manifest.resolve_manifest(manifest.ManifestFile(context.input_bytes(pinned), where), strategy)
    key = keys.resolved_manifest(context.run_id, strategy)
    return ManifestRecord(
        strategy=strategy,
        key=key,
        rows=resolved.table.num_rows,
        sha256=context.put_table(key, resolved.table),
        dropped=resolved.dropped,
    )
