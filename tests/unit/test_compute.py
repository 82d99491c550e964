import pytest
import torch

from lib.errors import ConfigError
from lib.learning.architecture import VNetConfig
from lib.learning.compute import choose_compute
from lib.learning.vnet import VNet


@pytest.mark.parametrize(
    ("able", "precision"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_means_bf16_on_a_cpu_that_computes_in_it(monkeypatch, able, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    compute = choose_compute("cpu", "auto")
    assert (compute.device.type, compute.precision, compute.describe()) == ("cpu", precision, "cpu")
    for asked in ("float32", "bf16"):
        assert choose_compute("cpu", asked).precision == asked


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("layout", "channels_first"), [("auto", False), ("channels_last", False), ("plain", True)]
)
def test_networks_lie_in_the_layout_that_is_asked_for(dimensions, layout, channels_first):
    network = VNet(
        VNetConfig(
            channels=(4, 8), encoder_convolutions=(1, 1), decoder_convolutions=(1,), dimensions=dimensions
        )
    )
    weight = choose_compute("cpu", "float32", layout).place(network).decoder[0][0].weight
    assert weight.is_contiguous() is channels_first
    last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    assert weight.is_contiguous(memory_format=last) is not channels_first


def test_bf16_holds_inside_the_context_only():
    compute, a = choose_compute("cpu", "bf16"), torch.rand(2, 2)
    with compute.autocast():
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose_compute("cuda")


@pytest.mark.parametrize(
    ("asked", "key"),
    [(("gpu",), "device"), (("cpu", "half"), "precision"), (("cpu", "auto", "last"), "memory_layout")],
)
def test_unknown_names_are_refused(asked, key):
    with pytest.raises(ConfigError, match=rf"train\.{key}"):
        choose_compute(*asked)
