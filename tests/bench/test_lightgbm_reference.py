"""The comparison with LightGBM, with trees in its place: lightgbm itself is no dependency."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from bench import lightgbm_reference
from clipfarm_tasks.errors import ConfigError


class Trees:
    """Takes what the script gives to LightGBM."""

    def __init__(self, *, random_state, **_):
        self.model = HistGradientBoostingRegressor(random_state=random_state, max_iter=5)

    def fit(self, features, target, eval_set, callbacks):
        ((held, held_target),) = eval_set
        assert (len(held), callbacks) == (len(held_target), ["stop"])
        self.model.fit(features, target)

    def predict(self, features):
        return self.model.predict(features)


def rows():
    n, rng = 40, np.random.default_rng(0)
    split = np.repeat(["train", "val", "test"], [28, 6, 6])
    metadata = pd.DataFrame({"subscribers": np.exp(rng.normal(8, 2, n)), "country": ["US", None] * 20})
    spec = SimpleNamespace(numeric_cols=("subscribers",), categorical_cols=("country",))
    vectors = rng.normal(size=(n, 3)).astype(np.float32)
    return SimpleNamespace(
        data=SimpleNamespace(spec=spec, rows=pd.DataFrame({"split": split})),
        inputs=SimpleNamespace(metadata=metadata, video=vectors, audio=None, text=vectors),
        target=np.log(metadata["subscribers"].to_numpy()).astype(np.float32),
    )


def test_it_sees_log_counts_categories_and_raw_vectors():
    seen = lightgbm_reference.features(rows())
    assert seen.shape == (40, 1 + 1 + 3 + 3)
    np.testing.assert_allclose(seen[:, 0], np.log1p(rows().inputs.metadata["subscribers"]), rtol=1e-6)
    assert np.isnan(seen[1::2, 1]).all()
    assert (seen[::2, 1] == 0).all()


def test_it_predicts_the_test_part_from_the_other_two(monkeypatch):
    stand_in = SimpleNamespace(LGBMRegressor=Trees, early_stopping=lambda rounds, verbose: "stop")
    monkeypatch.setitem(sys.modules, "lightgbm", stand_in)
    assert lightgbm_reference.predict_test(rows()).shape == (6,)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match="expected the package lightgbm, got none: .venv/bin/pip install lightgbm"):
        lightgbm_reference.predict_test(rows())
