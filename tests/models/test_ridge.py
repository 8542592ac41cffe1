"""ridge: vectors in any unit, and columns of many categories."""

from dataclasses import replace

import numpy as np
import pytest

from clipfarm_tasks.models.ridge import RidgeFamily


def fitted(data, options):
    model = RidgeFamily()
    return model, model.fit(data.rows, data.target, data.rows, data.target, options)


@pytest.mark.parametrize("rows", [200, 25], ids=["more rows than columns", "fewer"])
@pytest.mark.parametrize("unit", [1e-12, 0.01, 100.0, 1e12])
def test_vectors_in_another_unit_give_the_same_predictions(new_videos, options, unit, rows):
    data = new_videos(rows)
    scaled = replace(data, rows=replace(data.rows, fused=np.float32(unit) * data.rows.fused))
    (model, report), (other, other_report) = fitted(data, options()), fitted(scaled, options())
    np.testing.assert_allclose(other.predict(scaled.rows), model.predict(data.rows), rtol=1e-4, atol=1e-4)
    assert other_report.hyperparams["alpha"] == report.hyperparams["alpha"]


def test_vectors_of_zeros_leave_the_metadata(new_videos, options):
    data = new_videos(200)
    silent = replace(data, rows=replace(data.rows, fused=np.zeros_like(data.rows.fused)))
    model, _ = fitted(silent, options())
    assert np.corrcoef(model.predict(silent.rows), data.target)[0, 1] > 0.4


@pytest.mark.parametrize("times", [1, 25])
def test_the_width_does_not_grow_with_the_number_of_categories(new_videos, options, times):
    """Rare ones are pooled; of those that are not rare, the most frequent have a column of their own."""
    data = new_videos(300 * times)
    searches = np.tile([f"search {number}" for number in range(300)], times).astype(object)
    rows = replace(data.rows, metadata=data.rows.metadata.assign(country=searches))
    model, _ = fitted(replace(data, rows=rows), options())
    width = len(model._pipeline.pipeline.named_steps["model"].coef_)
    numerics_vectors_language = 3 + 19 + 2
    assert width == numerics_vectors_language + (1 if times == 1 else 256)
