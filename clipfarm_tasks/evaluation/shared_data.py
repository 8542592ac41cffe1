"""Whether the jobs of a pair were trained on the same data, as far as their families see the same."""

from collections.abc import Mapping

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family


def require_shared_data(sha256: Mapping[Family, Mapping[str, str]], where: str) -> None:
    """Refuse jobs that differ in the target, or in the features of families that see the same vectors.

    Args:
        sha256: the recorded digests (hex) of ``features`` and ``target``, by family.
        where: the pair, for the message.

    Raises:
        DataError: they differ; names the two families and the digests.
    """
    seen: dict[tuple[object, ...], tuple[Family, str]] = {}
    for family, digests in sha256.items():
        preset = PRESETS[family]
        for part, shared_by in (("target", ()), ("features", (preset.sees_fused, preset.sees_modalities))):
            other, expected = seen.setdefault((part, *shared_by), (family, digests[part]))
            if digests[part] != expected:
                raise DataError(
                    f"expected {family} to be trained on the same {part} as {other} (sha256 {expected[:12]}), got "
                    f"{digests[part][:12]}, in training_data_sha256, {where}: start a new run"
                )
