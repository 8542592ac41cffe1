"""The preset file: what tuning has found, in versions that never change. A run names one, and no run takes one else."""

from pydantic import Field

from clipfarm_tasks import keys
from clipfarm_tasks.config import FeatureSet, Frozen, SplitStrategy
from clipfarm_tasks.families import PRESETS, Family, Horizon, Recipe, Strategy
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document
from clipfarm_tasks.tuning.space import recipe_with


class FoundPreset(Frozen):
    """What a study has found for one family, beside the preset of the code on the same rows.

    The difference is optimistic: the val part has chosen the values that it judges here. What they are worth is told
    by the test part of a run that names them, if it has the same split_strategy and seed: another split has rows in its
    test part that have chosen the values.
    """

    study: str = Field(description="Name of the study")
    trial: int = Field(description="Number of its best trial")
    trials: int = Field(description="Trials that were scored or pruned")
    values: dict[str, float] = Field(description="Values found, by name in the recipe")
    n_val: int = Field(description="Videos of the val part that both were scored on")
    val_rmse_log: float = Field(description="RMSE in log space with these values")
    val_rmse_log_of_code: float = Field(description="RMSE in log space with the preset of the code")
    difference: float = Field(description="The former less the latter: below 0 is better")
    difference_interval: tuple[float, float] | None = Field(
        description="95 % interval of the difference, paired, over creators; null with fewer than 20 creators"
    )


class TunedOn(Frozen):
    """The rows that the studies of a file were made with."""

    run_id: str = Field(description="Run whose split and vectors they are")
    config_digest: str = Field(description="Its config digest, sha256 hex")
    feature_set_version: FeatureSet = Field(description="How its numerics are prepared")
    split_strategy: SplitStrategy = Field(description="How its rows were split")
    seed: int = Field(description="Seed of that split")
    strategy: Strategy = Field(description="Fusion strategy")
    horizon: Horizon = Field(description="Days")
    source_sha256: str = Field(description="Digest of the code that ran the trials, hex")


class PresetFile(Frozen):
    """One version."""

    version: int = Field(ge=1, description="Number that a run names it by")
    tuned_on: TunedOn = Field(description="What the scores belong to")
    presets: dict[Family, FoundPreset] = Field(description="By family; the others keep the preset of the code")

    def recipe(self, family: Family, where: str) -> Recipe:
        """The recipe of a family.

        Raises:
            DataError: a value is not one that tuning may choose.
        """
        found = self.presets.get(family)
        return PRESETS[family].hyperparams if found is None else recipe_with(family, found.values, where)


def parse_presets(body: bytes, where: str) -> PresetFile:
    """Read a file.

    Raises:
        DataError: it is no such file, has a family that this code does not know, or a value that it does not allow.
    """
    file = parse_document(PresetFile, body, where)
    for family in file.presets:
        file.recipe(family, where)
    return file


def publish_presets(store: Store, tuned_on: TunedOn, presets: dict[Family, FoundPreset]) -> PresetFile:
    """Create the next version; where the newest one holds the same, because an attempt was repeated, that one stands.

    Raises:
        TransientError: the server cannot be reached.
    """
    taken = filter(None, (keys.presets_version(info.key) for info in store.list(keys.PRESETS)))
    file = PresetFile(version=max(taken, default=1), tuned_on=tuned_on, presets=presets)
    while not store.create(keys.presets(file.version), file.model_dump_json(indent=2).encode()):
        file = file.model_copy(update={"version": file.version + 1})
    return file
