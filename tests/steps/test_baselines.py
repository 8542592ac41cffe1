"""The baselines of a horizon, on the rows that every strategy could have."""

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Baseline, Horizon, Modality


def test_every_video_of_val_and_test_is_predicted(upstream, run):
    upstream.upload()
    run.resolve()
    run.vectors()
    record = run.step("baselines", horizon=Horizon.D7)
    predicted = run.frame(keys.baselines(run.id, Horizon.D7))
    split = run.frame(keys.video_split(run.id, Horizon.D7)).query("split != 'train'")
    assert predicted.columns.tolist() == ["video_id", *Baseline]
    assert predicted["video_id"].tolist() == split["video_id"].tolist()
    assert record.rows == len(split)
    assert predicted.notna().all(axis=None)
    # Of test, the guess learns from what the models it is compared with were refitted on.
    videos = run.frame(keys.video_split(run.id, Horizon.D7))
    for judged, learnt in (("val", ["train"]), ("test", ["train", "val"])):
        mean = videos[videos["split"].isin(learnt)]["target_log"].mean()
        of_part = predicted[(split["split"] == judged).to_numpy()]
        np.testing.assert_allclose(of_part["train_mean"], mean)


def test_a_video_without_vectors_is_left_out(upstream, run):
    upstream.upload()
    run.resolve(run_id="before")
    run.vectors()
    parts = run.frame(keys.video_split(run.id, Horizon.D7)).set_index("video_id")["split"]
    lost = next(row for row, name in enumerate(upstream.ids) if parts[name] == "test")
    upstream.npy[upstream.key(Modality.VIDEO, lost)] = b"broken"
    upstream.upload()
    run.resolve()
    run.vectors()
    run.step("baselines", horizon=Horizon.D7)
    predicted = run.frame(keys.baselines(run.id, Horizon.D7))
    assert upstream.ids[lost] not in set(predicted["video_id"])


def test_too_few_videos_with_vectors_are_refused(upstream, run):
    for row in range(14):
        upstream.npy[upstream.key(Modality.VIDEO, row)] = b"broken"
    upstream.upload()
    run.resolve(max_quarantined_fraction=1.0)
    run.vectors()
    with pytest.raises(DataError, match=r"expected at least 12 labelled videos with modality vectors .* got \{'train'"):
        run.step("baselines", horizon=Horizon.D7)
