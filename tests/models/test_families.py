"""The contract of a model family, once for all of them."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.metrics import r2_score

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.registry import create, load

ROOT = Path(__file__).parents[2]
MODALITIES = ("video", "audio", "text")
VECTORS_OF = dict.fromkeys(Family, ("fused",)) | dict.fromkeys((Family.GATED_FUSION_MLP, Family.KERNEL), MODALITIES)
NETWORKS = (Family.CONCAT_MLP, Family.GATED_FUSION_MLP, Family.TABM)
CURVE_OF = {
    Family.CONCAT_MLP: ["concat_mlp"],
    Family.GATED_FUSION_MLP: ["gated_fusion_mlp"],
    Family.RIDGE: [],
    Family.GBDT: ["gbdt_projector"],
    Family.TABM: ["tabm"],
    Family.KERNEL: [],
}
FILES_OF = {
    Family.CONCAT_MLP: {"concat_mlp.pt"},
    Family.GATED_FUSION_MLP: {"gated_fusion_mlp.pt"},
    Family.RIDGE: {"ridge.skops", "ridge.joblib"},
    Family.GBDT: {"gbdt_projector.pt", "gbdt.skops", "gbdt.joblib"},
    Family.TABM: {"tabm.pt"},
    Family.KERNEL: {"kernel.skops", "kernel.joblib"},
}
STEPS_OF = {Family.RIDGE: ["pre", "model"], Family.GBDT: ["pre", "model"], Family.KERNEL: ["pre", "kernels", "model"]}

pytestmark = pytest.mark.parametrize("family", list(Family), ids=str)


def fit(family, train, val, options):
    model = create(family)
    return model, model.fit(train.rows, train.target, val.rows, val.target, options)


@pytest.fixture(scope="session")
def fitted_by_family(videos):
    return {}


@pytest.fixture
def fitted(family, fitted_by_family, videos, options):
    """One fit per family for every test that only looks at it."""
    if family not in fitted_by_family:
        fitted_by_family[family] = fit(family, videos.take(range(150)), videos.take(range(150, 200)), options())
    return fitted_by_family[family]


@pytest.fixture
def model(fitted):
    return fitted[0]


def test_overfits_32_rows(family, new_videos, options):
    # A tree leaf holds at least 20 rows, so the trees need to see each of the 32 videos that often.
    few = new_videos(32, seed=1).take(np.tile(np.arange(32), 20))
    model, _ = fit(family, few, few, options(max_epochs=25, patience=25))
    assert r2_score(few.target, model.predict(few.rows)) > 0.95


def test_sees_more_than_the_mean_on_new_rows(family, new_videos, options):
    data = new_videos(700)
    model, _ = fit(family, data.take(range(500)), data.take(range(500, 600)), options(max_epochs=25, patience=5))
    test = data.take(range(600, 700))
    assert r2_score(test.target, model.predict(test.rows)) > 0.5


def test_a_refit_learns_from_the_validation_part_too(family, new_videos, options, tmp_path):
    data = new_videos(300)
    train, val = data.take(range(200)), data.take(range(200, 300))
    # Only validation rows know that this language is worth so much.
    val.rows.metadata["language"] = "fr"
    val = replace(val, target=val.target + np.float32(5))
    both = replace(
        data,
        rows=replace(data.rows, metadata=pd.concat([train.rows.metadata, val.rows.metadata], ignore_index=True)),
        target=np.concatenate([train.target, val.target]),
    )
    settings = options(max_epochs=25, patience=25)
    model, _ = fit(family, train, val, settings)
    before = model.predict(val.rows)
    model.refit(both.rows, both.target, settings)
    after = model.predict(val.rows)
    assert np.abs(after - val.target).mean() < 0.75 * np.abs(before - val.target).mean()
    model.save(tmp_path)
    np.testing.assert_array_equal(load(family, tmp_path).predict(val.rows), after)


def test_nothing_can_be_refitted_before_it_was_fitted(family, videos, options):
    with pytest.raises(RuntimeError, match=f"expected fit.* in family {family}"):
        create(family).refit(videos.rows, videos.target, options())


def test_predicts_one_float32_per_row(model, videos):
    predicted = model.predict(videos.rows)
    assert (predicted.shape, predicted.dtype) == ((200,), np.float32)
    assert model.predict(videos.take(np.array([], dtype=np.int64)).rows).shape == (0,)


def test_a_row_is_predicted_alone_as_among_others(model, videos):
    whole = model.predict(videos.rows)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(model.predict(videos.take(order).rows), whole[order], rtol=1e-5)
    np.testing.assert_allclose(model.predict(videos.take([3]).rows), whole[[3]], rtol=1e-5)


def test_loaded_files_predict_identically(family, model, videos, tmp_path):
    files = model.save(tmp_path / "models")
    assert {path.name for path in files} == FILES_OF[family] == {path.name for path in (tmp_path / "models").iterdir()}
    np.testing.assert_array_equal(load(family, tmp_path / "models").predict(videos.rows), model.predict(videos.rows))


def test_a_fresh_process_predicts_identically(family, model, videos, tmp_path):
    model.save(tmp_path)
    joblib.dump(videos.rows, tmp_path / "rows")
    code = (
        "import sys, joblib, numpy as np\n"
        "from clipfarm_tasks.models.registry import load\n"
        "folder, family = sys.argv[1:]\n"
        "np.save(folder + '/out.npy', load(family, __import__('pathlib').Path(folder))"
        ".predict(joblib.load(folder + '/rows')))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), family.value], check=True, cwd=ROOT)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict(videos.rows))


def test_the_same_seed_predicts_bit_by_bit_the_same(family, model, videos, options):
    again, _ = fit(family, videos.take(range(150)), videos.take(range(150, 200)), options())
    np.testing.assert_array_equal(again.predict(videos.rows), model.predict(videos.rows))


def test_another_seed_changes_what_starts_at_random(family, model, videos, options):
    other, _ = fit(family, videos.take(range(150)), videos.take(range(150, 200)), options(seed=8))
    same = np.array_equal(other.predict(videos.rows), model.predict(videos.rows))
    assert same == (not PRESETS[family].is_seeded)


def test_unseen_and_missing_categories_are_alike_to_a_network_and_finite_everywhere(family, model, videos):
    unseen, missing = (
        replace(videos.rows, metadata=videos.rows.metadata.assign(language=np.full(200, value, dtype=object)))
        for value in ("klingon", None)
    )
    assert np.isfinite(model.predict(unseen)).all()
    assert np.isfinite(model.predict(missing)).all()
    if family in NETWORKS:
        np.testing.assert_array_equal(model.predict(unseen), model.predict(missing))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -5.0])
def test_missing_infinite_and_negative_numerics_give_finite_predictions(family, model, videos, value):
    rows = replace(videos.rows, metadata=videos.rows.metadata.assign(subscribers=value, duration=value))
    assert np.isfinite(model.predict(rows)).all()


def test_columns_without_any_value_in_the_train_part(family, videos, options):
    empty = videos.rows.metadata.assign(duration=np.nan, language=np.full(200, None, dtype=object))
    data = replace(videos, rows=replace(videos.rows, metadata=empty))
    model, _ = fit(family, data.take(range(150)), data.take(range(150, 200)), options())
    assert np.isfinite(model.predict(data.rows)).all()
    assert np.isfinite(model.predict(videos.rows)).all()


def test_no_text_at_all(family, videos, options):
    fused = videos.rows.fused.copy()
    fused[:, 11:] = 0
    silent = replace(
        videos.rows,
        fused=fused,
        text=np.zeros_like(videos.rows.text),
        text_present=np.zeros_like(videos.rows.text_present),
    )
    data = replace(videos, rows=silent)
    model, _ = fit(family, data.take(range(150)), data.take(range(150, 200)), options())
    assert np.isfinite(model.predict(silent)).all()
    assert np.isfinite(model.predict(videos.rows)).all()


@pytest.mark.parametrize(
    ("numeric_cols", "categorical_cols"),
    [((), ()), (("subscribers",), ()), ((), ("country",)), (("constant", "empty"), ("one", "nothing"))],
    ids=["no feature", "only numerics", "only categories", "nothing to learn from"],
)
def test_few_and_empty_columns(family, videos, options, tmp_path, numeric_cols, categorical_cols):
    metadata = videos.rows.metadata.assign(
        constant=7.0, empty=np.nan, one="same", nothing=np.full(200, None, dtype=object)
    )
    rows = replace(videos.rows, metadata=metadata[[*numeric_cols, *categorical_cols]])
    data = replace(videos, rows=rows)
    columns = options(numeric_cols=numeric_cols, categorical_cols=categorical_cols)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model, _ = fit(family, data.take(range(150)), data.take(range(150, 200)), columns)
    predicted = model.predict(rows)
    assert np.isfinite(predicted).all()
    model.save(tmp_path)
    np.testing.assert_array_equal(load(family, tmp_path).predict(rows), predicted)


@pytest.mark.parametrize("feature_set", list(FeatureSet))
@pytest.mark.parametrize("value", [1e30, -1e300])
def test_a_wild_cell_counts_as_missing(family, videos, options, feature_set, value):
    def with_cells(cell):
        metadata = videos.rows.metadata.copy()
        metadata.loc[[3, 160, 190], ["subscribers", "duration"]] = cell
        return replace(videos, rows=replace(videos.rows, metadata=metadata))

    wild, missing = with_cells(value), with_cells(np.nan)
    short = options(feature_set=feature_set, max_epochs=1)
    predicted = [
        fit(family, data.take(range(150)), data.take(range(150, 180)), short)[0].predict(data.rows)
        for data in (wild, missing)
    ]
    np.testing.assert_array_equal(*predicted)
    assert np.abs(predicted[0]).max() < 1e3


@pytest.mark.parametrize("name", ["fused_0", "proj_0", "fused_123456"])
def test_a_metadata_column_called_like_a_vector_column_is_refused_by_name(family, videos, options, name):
    data = replace(videos, rows=replace(videos.rows, metadata=videos.rows.metadata.assign(**{name: 1.0})))
    with pytest.raises(DataError, match=rf"no metadata column named like a vector column, got \['{name}'\]"):
        fit(family, data, data, options(numeric_cols=("duration", name)))


def test_v1_takes_no_logs_and_v2_names_them(family, fitted, videos, options):
    assert fitted[1].hyperparams["log_cols"] == ["subscribers"]
    _, report = fit(
        family,
        videos.take(range(150)),
        videos.take(range(150, 200)),
        options(feature_set=FeatureSet.V1_TRAINING_SUITE),
    )
    assert report.hyperparams["log_cols"] == []


def test_report_has_the_family_s_curves_of_equal_length(family, fitted):
    _, report = fitted
    assert list(report.curves) == CURVE_OF[family]
    assert report.device == "cpu"
    for curve in report.curves.values():
        np.testing.assert_allclose(np.square(curve.val_rmse_log), curve.val_loss)
        assert len(curve.train_loss) == len(curve.val_loss) == len(curve.val_rmse_log) >= 1


def test_preset_sees_what_the_family_asks_for(family):
    preset = PRESETS[family]
    assert (preset.sees_fused, preset.sees_modalities) == (
        "fused" in VECTORS_OF[family],
        "text" in VECTORS_OF[family],
    )


def test_a_missing_input_is_named(family, model, videos, options):
    for name in VECTORS_OF[family]:
        rows = replace(videos.rows, **{name: None})
        for attempt in (
            lambda rows=rows: model.predict(rows),
            lambda rows=rows: create(family).fit(rows, videos.target, rows, videos.target, options()),
        ):
            with pytest.raises(DataError, match=f"expected the input '{name}', got None, in family {family}"):
                attempt()


def test_inputs_the_family_does_not_see_may_be_none(family, videos, model):
    hidden = {"fused", "video", "audio", "text"} - set(VECTORS_OF[family])
    rows = replace(videos.rows, **dict.fromkeys(hidden))
    np.testing.assert_array_equal(model.predict(rows), model.predict(videos.rows))


def test_vectors_of_another_width_are_refused(family, model, videos):
    name = VECTORS_OF[family][0]
    vectors = getattr(videos.rows, name)
    rows = replace(videos.rows, **{name: vectors[:, :-1]})
    with pytest.raises(DataError, match=rf"expected '{name}' of shape \(200, {vectors.shape[1]}\), got"):
        model.predict(rows)


def test_a_missing_metadata_column_is_named(family, model, videos):
    rows = replace(videos.rows, metadata=videos.rows.metadata.drop(columns="country"))
    with pytest.raises(DataError, match=r"expected the metadata columns \['country'\]"):
        model.predict(rows)


def test_targets_of_other_rows_are_refused(family, videos, options):
    for target, message in (
        (videos.target[:-1], r"expected a target of shape \(200,\), got \(199,\), in the train part"),
        (np.where(np.arange(200) == 3, np.nan, videos.target), "expected finite targets, got 1 that are not"),
    ):
        with pytest.raises(DataError, match=message):
            create(family).fit(videos.rows, target, videos.rows, videos.target, options())
    nobody = videos.take(np.array([], dtype=np.int64))
    with pytest.raises(DataError, match="expected at least 1 row, got 0, in the validation part"):
        create(family).fit(videos.rows, videos.target, nobody.rows, nobody.target, options())


def test_unfitted_models_say_so(family, videos, tmp_path):
    with pytest.raises(RuntimeError, match=f"expected fit\\(\\) or load\\(\\) first.*in family {family}"):
        create(family).predict(videos.rows)
    with pytest.raises(RuntimeError, match="unfitted model"):
        create(family).save(tmp_path)


def test_fitting_changes_neither_rows_nor_targets(family, new_videos, options):
    data, untouched = new_videos(60, seed=3), new_videos(60, seed=3)
    for array in (data.rows.fused, data.rows.video, data.rows.audio, data.rows.text, data.target):
        array.flags.writeable = False
    model, _ = fit(family, data, data, options())
    model.predict(data.rows)
    assert data.rows.metadata.equals(untouched.rows.metadata)


def test_read_only_memory_maps_fit_and_predict_the_same(family, model, videos, options, tmp_path):
    mapped = {}
    for name in VECTORS_OF[family]:
        np.save(tmp_path / f"{name}.npy", getattr(videos.rows, name))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    data = replace(videos, rows=replace(videos.rows, **mapped))
    train, val = data.rows.slice(0, 150), data.rows.slice(150, 200)
    again = create(family)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable")
        again.fit(train, data.target[:150], val, data.target[150:], options())
        predicted = again.predict(data.rows)
    np.testing.assert_array_equal(predicted, model.predict(videos.rows))


def test_predicts_in_blocks_as_in_one_piece(family, model, videos, monkeypatch):
    whole = model.predict(videos.rows)
    for module in ("fitted_pipeline", "rows"):
        monkeypatch.setattr(f"clipfarm_tasks.models.{module}.BLOCK_ROWS", 64)
    np.testing.assert_allclose(model.predict(videos.rows), whole, rtol=1e-5)


def test_artifacts_hold_exactly_the_published_keys(family, model, videos, tmp_path):
    for path in model.save(tmp_path):
        if path.suffix == ".pt":
            content = torch.load(path, weights_only=True)
            PUBLISHED[path.name](content)
        elif path.suffix == ".skops":
            pipeline = skops_file.load(path)
            prefix, width = ("proj", 8) if family is Family.GBDT else ("fused", 19)
            assert list(pipeline.named_steps) == STEPS_OF[family]
            assert type(pipeline.named_steps["pre"]) is ColumnTransformer
            assert list(pipeline.named_steps["pre"].named_transformers_) == ["num", "cat"]
            assert list(pipeline.feature_names_in_) == [
                *("subscribers", "duration", "is_short", "country", "language"),
                *(f"{prefix}_{i}" for i in range(width)),
            ]


PREPROCESS_KEYS = {
    *("numeric_cols", "categorical_cols", "num_median", "num_mean", "num_std", "cat_mappings"),
    *("log_cols", "num_range"),
}


def check_concat(content):
    assert set(content) == {"model_state_dict", "model_config", "preprocess"}
    assert set(content["preprocess"]) == PREPROCESS_KEYS
    assert content["model_config"] == {"fused_dim": 19, "numeric_dim": 3, "cat_cardinalities": [5, 3]}
    shapes = {name: tuple(value.shape) for name, value in content["model_state_dict"].items()}
    assert shapes == {
        "cat_embeddings.0.weight": (5, 2),
        "cat_embeddings.1.weight": (3, 2),
        **linear("net.0", 19 + 3 + 4, 1024),
        **linear("net.3", 1024, 512),
        **linear("net.6", 512, 256),
        **linear("net.9", 256, 1),
    }


def check_gated(content):
    assert set(content) == {"model_state_dict", "model_config", "preprocess"}
    assert set(content["preprocess"]) == PREPROCESS_KEYS
    widths = {"video_dim": 6, "audio_dim": 5, "text_dim": 7}
    assert content["model_config"] == {**widths, "numeric_dim": 3, "cat_cardinalities": [5, 3]}
    shapes = {name: tuple(value.shape) for name, value in content["model_state_dict"].items()}
    context = 3 + 1 + 4
    assert shapes == {
        "cat_embeddings.0.weight": (5, 2),
        "cat_embeddings.1.weight": (3, 2),
        **tower("video_tower", 6),
        **tower("audio_tower", 5),
        **tower("text_tower", 7),
        **linear("gate_net.0", context, 128),
        **linear("gate_net.3", 128, 3),
        **linear("head.0", 256 + context, 256),
        **linear("head.3", 256, 128),
        **linear("head.6", 128, 1),
    }


def check_tabm(content):
    assert set(content) == {"model_state_dict", "model_config", "preprocess"}
    assert set(content["preprocess"]) == PREPROCESS_KEYS
    assert content["model_config"] == {"fused_dim": 19, "numeric_dim": 3, "cat_cardinalities": [5, 3]}
    shapes = {name: tuple(value.shape) for name, value in content["model_state_dict"].items()}
    assert shapes.items() >= {**linear("vector.0", 19, 128), "cat_embeddings.0.weight": (5, 2)}.items()


def check_projector(content):
    assert set(content) == {"state_dict", "input_dim", "projector_dim"}
    assert (content["input_dim"], content["projector_dim"]) == (19, 8)
    shapes = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    assert shapes == {**linear("projector.0", 19, 256), **linear("projector.3", 256, 8), **linear("head", 8, 1)}


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def tower(name, inputs):
    return {**linear(f"{name}.0", inputs, 256), f"{name}.2.weight": (256,), f"{name}.2.bias": (256,)}


PUBLISHED = {
    "concat_mlp.pt": check_concat,
    "gated_fusion_mlp.pt": check_gated,
    "gbdt_projector.pt": check_projector,
    "tabm.pt": check_tabm,
}
