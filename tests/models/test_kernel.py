"""kernel beside scikit-learn's exact methods, and what its pipeline is made of."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import KernelCenterer

from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.column_transformer import metadata_frame, vector_columns, with_vectors
from clipfarm_tasks.models.kernel import create

PRESET = PRESETS[Family.KERNEL].hyperparams
TRAIN, VAL = range(150), range(150, 200)
BLOCKS = {"numerics": (0, 3), "video": (3, 9), "audio": (9, 14), "text": (14, 22)}


def fit(videos, options, recipe, **changes):
    model, train, val = create(recipe), videos.take(TRAIN), videos.take(VAL)
    return model, model.fit(train.rows, train.target, val.rows, val.target, options(**changes))


def features_and_kernels(model, videos, folder):
    """(N, P) of all videos by the saved pipeline's ``pre``, and its ``kernels``."""
    model.save(folder)
    pipeline = skops_file.load(folder / "kernel.skops")
    rows = videos.rows
    names = ("subscribers", "duration", "is_short"), ("country", "language")
    vectors = np.column_stack([rows.video, rows.audio, rows.text, rows.text_present])
    frame = with_vectors(metadata_frame(rows.metadata, *names), vector_columns("fused", 19), vectors)
    return pipeline["pre"].transform(frame), pipeline["kernels"]


def additive(features, kernels, report):
    """(N, N) the kernel, by scikit-learn's own, with the length scales of the pipeline."""
    edges = {**BLOCKS, "categories": (22, features.shape[1])}
    total = np.zeros((len(features), len(features)))
    for name, (start, stop) in edges.items():
        lengths = kernels.named_transformers_[name][0].estimator.scale_
        assert lengths.shape == (stop - start,)
        assert name == "numerics" or len(set(lengths)) == 1
        total += report.hyperparams["amplitudes"][name] * RBF(lengths)(features[:, start:stop])
    return total


def test_with_as_many_components_as_rows_it_is_kernel_ridge_with_a_free_mean(videos, options, tmp_path):
    model, report = fit(videos, options, replace(PRESET, rows=200, components=200))
    features, kernels = features_and_kernels(model, videos, tmp_path)
    kernel = additive(features, kernels, report)
    train, test, target = kernel[:150, :150], kernel[150:, :150], videos.target[:150].astype(np.float64)
    centred = KernelCenterer().fit(train)
    exact = KernelRidge(alpha=report.hyperparams["alpha"], kernel="precomputed")
    exact.fit(centred.transform(train), target - target.mean())
    expected = exact.predict(centred.transform(test)) + target.mean()
    np.testing.assert_allclose(model.predict(videos.take(VAL).rows), expected, rtol=1e-4)


def test_the_penalty_is_the_noise_times_one_of_the_grid(videos, options):
    _, report = fit(videos, options, PRESET)
    found = report.hyperparams
    assert found["noise"] > 0
    factors = found["alpha"] / found["noise"] / np.array(PRESET.alphas)
    steps = np.log(factors) / np.log(3.0)  # continued by this factor where the best is at an edge
    assert np.abs(steps - steps.round()).min() < 1e-6


def test_some_rows_choose_the_kernel_and_all_rows_the_weights(videos, options, tmp_path):
    model, report = fit(videos, options, replace(PRESET, rows=40, components=30))
    _, kernels = features_and_kernels(model, videos, tmp_path)
    for name in BLOCKS:
        assert kernels.named_transformers_[name][1].components_.shape[0] == 30
    other = videos.take(TRAIN)
    changed = create(replace(PRESET, rows=40, components=30))
    chosen = np.sort(np.random.default_rng(options().seed).permutation(150)[:40])
    target = other.target.copy()
    target[np.setdiff1d(np.arange(150), chosen)] += 1
    val = videos.take(VAL)
    again = changed.fit(other.rows, target, val.rows, val.target, options())
    assert again.hyperparams["amplitudes"] == report.hyperparams["amplitudes"]
    assert (changed.predict(val.rows) != model.predict(val.rows)).any()


def test_a_refit_keeps_the_kernel(videos, options):
    model, report = fit(videos, options, PRESET)
    found = model.refit(videos.rows, videos.target, options())
    assert (found["noise"], found["amplitudes"]) == (report.hyperparams["noise"], report.hyperparams["amplitudes"])


def test_few_rows_are_enough(new_videos, options):
    videos = new_videos(12, seed=4)
    model = create()
    model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
    assert np.isfinite(model.predict(videos.rows)).all()


@pytest.mark.parametrize("absent", ["numerics", "categories"])
def test_a_block_without_columns_has_no_features(videos, options, tmp_path, absent):
    columns = {"numerics": {"numeric_cols": ()}, "categories": {"categorical_cols": ()}}[absent]
    model, _ = fit(videos, options, PRESET, **columns)
    model.save(tmp_path)
    kernels = skops_file.load(tmp_path / "kernel.skops")["kernels"]
    widths = {name: part.stop - part.start for name, part in kernels.output_indices_.items()}
    assert {name for name, width in widths.items() if not width} - {"remainder"} == {absent}
