"""Presets that no study has found."""

from clipfarm_tasks.tuning.preset_file import FoundPreset, TunedOn

TUNED_ON = TunedOn(
    run_id="a-run",
    config_digest="0" * 64,
    feature_set_version="v3",
    split_strategy="random",
    seed=42,
    strategy="concat",
    horizon=7,
    source_sha256="1" * 64,
)


def found(**values):
    return FoundPreset(
        study="a-study",
        trial=3,
        trials=20,
        values=values,
        n_val=30,
        val_rmse_log=1.0,
        val_rmse_log_of_code=1.1,
        difference=-0.1,
        difference_interval=(-0.2, 0.0),
    )
