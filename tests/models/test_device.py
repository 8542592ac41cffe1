import pytest
import torch

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Device, Family
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.registry import create

WITH_TORCH = (Family.CONCAT_MLP, Family.GATED_FUSION_MLP, Family.GBDT, Family.TABM)


@pytest.mark.parametrize(
    ("asked", "available", "expected"),
    [
        (Device.AUTO, True, "cuda"),
        (Device.AUTO, False, "cpu"),
        (Device.CPU, True, "cpu"),
        (Device.CPU, False, "cpu"),
        (Device.CUDA, True, "cuda"),
    ],
)
def test_device(monkeypatch, asked, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(asked).type == expected


def test_cuda_without_cuda_gives_advice(monkeypatch, videos, options):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for family in WITH_TORCH:
        with pytest.raises(ConfigError, match=r"expected a CUDA device.*use device=auto or device=cpu"):
            create(family).fit(videos.rows, videos.target, videos.rows, videos.target, options(device=Device.CUDA))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", WITH_TORCH)
def test_two_fits_on_cuda_predict_the_same(family, videos, options):
    def predicted():
        model = create(family)
        report = model.fit(videos.rows, videos.target, videos.rows, videos.target, options(device=Device.CUDA))
        assert report.device == "cuda"
        return model.predict(videos.rows).tolist()

    assert predicted() == predicted()
