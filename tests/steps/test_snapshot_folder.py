"""A model out of the bucket predicts what its job published, and only from the files that the job wrote."""

import io

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Family, Horizon, Strategy
from clipfarm_tasks.steps.snapshot_folder import load_model
from clipfarm_tasks.steps.training_rows import training_rows

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.mark.parametrize("family", [*DEFAULT_FAMILIES, ENSEMBLE])
def test_a_model_predicts_what_its_job_published(finished, family):
    context = finished.context
    prefix = keys.job_snapshot(finished.id, family, *PAIR)
    model = load_model(context.store, prefix, context.config.digest, family)
    published = pd.read_parquet(io.BytesIO(context.store.get(f"{prefix}predictions/test.parquet")))
    rows = training_rows(context, *PAIR, *(DEFAULT_FAMILIES if family == ENSEMBLE else (family,)))
    predicted = model.predict(rows.inputs_of("test"))
    np.testing.assert_array_equal(predicted, published[f"pred_{family}_log"].astype(np.float32))


def test_an_altered_or_unfinished_model_is_refused(upstream, run, store):
    upstream.upload()
    run.resolve()
    run.whole()
    prefix, digest = keys.job_snapshot(run.id, Family.RIDGE, *PAIR), run.context.config.digest
    with pytest.raises(DataError, match="expected a finished snapshot, got none, in s3://.*model=gbdt"):
        load_model(store, keys.job_snapshot(run.id, Family.GBDT, *PAIR), digest, Family.GBDT)
    store.put(f"{prefix}models/ridge.skops", store.get(f"{prefix}models/ridge.skops") + b"x")
    with pytest.raises(DataError, match=r"expected the file its _SUCCESS names, got another, in s3://.*ridge.skops"):
        load_model(store, prefix, digest, Family.RIDGE)
