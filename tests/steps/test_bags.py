"""A run whose families are fitted several times: every fit is in every snapshot, and they predict together."""

import json

import numpy as np

from clipfarm_tasks import keys
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy
from clipfarm_tasks.steps.snapshot_folder import load_model
from clipfarm_tasks.steps.training_rows import training_rows

PAIR = (Strategy.CONCAT, Horizon.D7)


def test_all_fits_of_a_family_are_published_and_predict_what_was_published(upstream, run):
    upstream.upload()
    run.resolve(models=["ridge", "concat_mlp"], bags=2, temporal_check=False)
    run.whole()
    context, job = run.context, keys.job_snapshot(run.id, Family.CONCAT_MLP, *PAIR)
    for prefix in (job, keys.job_snapshot(run.id, ENSEMBLE, *PAIR), keys.pair_snapshot(run.id, *PAIR)):
        assert {"models/concat_mlp.pt", "models/bag_2/concat_mlp.pt"} <= set(run.files(prefix)), prefix
    assert json.loads(run.files(job)["config_used.json"])["hyperparams"]["concat_mlp"]["bag_seeds"] == [42, 43]
    rows = training_rows(context, *PAIR, Family.CONCAT_MLP).inputs_of("test")
    published = run.frame(f"{job}predictions/test.parquet")["pred_concat_mlp_log"]
    loaded = load_model(run.store, job, context.config.digest, Family.CONCAT_MLP)
    np.testing.assert_array_equal(loaded.predict(rows), published.to_numpy(np.float32))
