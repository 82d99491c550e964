import logging

import numpy as np
import pytest
import torch

from lib.errors import ConfigError, ModelError, TrainingError
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range
from lib.learning.architecture import VNetConfig
from lib.learning.checkpoint import weights_on_host, write_model
from lib.learning.compute import choose_compute
from lib.learning.predict import choose_members, load_models, predict_scan, predict_volume, within_memory
from lib.learning.predict_settings import PredictConfig
from lib.learning.uncertainty import measure_disagreement
from lib.learning.vnet import VNet
from lib.learning.windows import WindowLayout

CT = fixed_range(IntensityConfig())
NETWORK = {
    "channels": (2, 3),
    "encoder_convolutions": (1, 1),
    "decoder_convolutions": (1,),
    "kernel": 3,
    "dropout": 0.2,
}


def write(path, seed, dice=0.9, **changes):
    torch.manual_seed(seed)
    best, last = VNet(VNetConfig(**NETWORK)), VNet(VNetConfig(**NETWORK))
    content = {
        "architecture": NETWORK,
        "structures": ["femur"],
        "intensity": {"scale": "range", "low": -1000.0, "high": 2000.0},
        "preprocessing": {"resample": {"method": "fourier"}},
        "window_slices": 8,
        "slice_axis": "z",
        "last": weights_on_host(last),
        "best": weights_on_host(best),
        "best_epoch": 1,
        "task": "segment",
        "best_validation_dice": dice,
    }
    write_model(path, content | changes)
    return path, best.eval(), last.eval()


def scan(slices):
    return np.random.default_rng(0).integers(-1024, 2500, (slices, 10, 12)).astype(np.int16)


def window_mean(network, image_zyx, starts):
    """Predict with plain loops, by the definition of `predict_scan`."""
    intensity = (np.clip(image_zyx, -1000, 2000).astype(np.float32) + 1000) / 3000
    total, count = np.zeros(image_zyx.shape), np.zeros((len(image_zyx), 1, 1))
    for start in starts:
        with torch.no_grad():
            logits = network(torch.from_numpy(intensity[start : start + 8])[None, None])
        total[start : start + 8] += torch.sigmoid(logits)[0, 0].numpy()
        count[start : start + 8] += 1
    return total / count


def probability(ensemble, image_zyx, **settings):
    return predict_scan(ensemble, image_zyx, CT, PredictConfig(**settings)).probability_zyx


@pytest.mark.parametrize(("weights", "which"), [("best", 1), ("last", 2)])
@pytest.mark.parametrize(("step", "starts"), [(1, range(5)), (3, [0, 3, 4])])
def test_a_scan_is_the_mean_of_its_windows(tmp_path, weights, which, step, starts):
    model = write(tmp_path / "model.pt", 0)
    ensemble = load_models([model[0]], weights, "cpu", "float32")
    found = probability(ensemble, scan(12), step=step)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, window_mean(model[which], scan(12), starts), atol=1e-5)


def test_an_ensemble_is_the_mean_probability_of_its_networks(tmp_path):
    models = [write(tmp_path / f"{seed}.pt", seed) for seed in range(3)]
    together = predict_scan(
        load_models([m[0] for m in models], "best", "cpu", "float32"), scan(9), CT, PredictConfig()
    )
    single = [probability(load_models([m[0]], "best", "cpu", "float32"), scan(9)) for m in models]
    np.testing.assert_allclose(together.probability_zyx, np.mean(single, axis=0), atol=1e-6)
    masks = torch.from_numpy(np.stack(single) >= 0.5)
    mean = torch.from_numpy(together.probability_zyx)
    expected = measure_disagreement(mean, mean >= 0.5, masks)
    assert together.disagreements == {"femur": expected}
    assert 0 < expected.member_dice < 1


def test_one_network_has_no_disagreement(tmp_path):
    ensemble = load_models([write(tmp_path / "model.pt", 0)[0]], "best", "cpu", "float32")
    assert predict_scan(ensemble, scan(9), CT, PredictConfig()).disagreements == {}


def test_the_same_network_twice_agrees_with_itself(tmp_path):
    path = write(tmp_path / "model.pt", 0)[0]
    predicted = predict_scan(
        load_models([path, path], "best", "cpu", "float32"), scan(9), CT, PredictConfig()
    )
    assert predicted.disagreements["femur"].member_dice == 1


def test_a_scan_is_scaled_by_its_own_range(tmp_path):
    scale = {"scale": "percentile", "low": 0.5, "high": 99.5}
    ensemble = load_models([write(tmp_path / "model.pt", 0, intensity=scale)[0]], "best", "cpu", "float32")
    image_zyx = scan(9)
    own = IntensityRange(low=-500.0, high=1000.0, padding=-500)
    # the same intensities from another scanner, with twice the gain
    other = IntensityRange(low=-1000.0, high=2000.0, padding=-1000)
    found = [
        predict_scan(ensemble, image, range_, PredictConfig()).probability_zyx
        for image, range_ in ((image_zyx, own), (2 * image_zyx, other), (image_zyx, other))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_scan_cropped_for_another_fixed_range_is_refused(tmp_path):
    ensemble = load_models([write(tmp_path / "model.pt", 0)[0]], "best", "cpu", "float32")
    narrow = fixed_range(IntensityConfig(low=-500.0, high=500.0))
    with pytest.raises(ModelError, match="from -1000 to 2000, and this scan was cropped for -500 to 500"):
        predict_scan(ensemble, scan(9), narrow, PredictConfig())


@pytest.mark.parametrize("slices", [1, 5, 8])
@pytest.mark.parametrize("z_padding", [0, 3])
def test_short_scans_keep_their_size_and_range(tmp_path, slices, z_padding):
    ensemble = load_models([write(tmp_path / "model.pt", 0)[0]], "best", "cpu", "float32")
    found = probability(ensemble, scan(slices), z_padding=z_padding)
    assert found.shape == (slices, 10, 12)
    assert 0 < found.min() < found.max() < 1


def test_batches_do_not_change_the_result(tmp_path):
    ensemble = load_models([write(tmp_path / "model.pt", 0)[0]], "best", "cpu", "float32")
    one, many = (probability(ensemble, scan(20), batch_windows=n) for n in (1, 7))
    np.testing.assert_allclose(one, many, atol=1e-6)


CUDA_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
HOST_ERROR = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: tried to allocate 1 bytes"
)


class Small:
    """A network with memory for only `most` windows at once; it records the number of windows of each call."""

    def __init__(self, most, error=CUDA_ERROR):
        self.most, self.error, self.given = most, error, []

    def __call__(self, windows):
        self.given.append(len(windows))
        if len(windows) > self.most:
            raise self.error
        return 4 * windows - 2


LAYOUT = WindowLayout(window=8, step=1, z_padding=0, batch=6)


@pytest.mark.parametrize(("most", "tried"), [(6, [6]), (5, [6, 3]), (2, [6, 3, 1]), (1, [6, 3, 1])])
@pytest.mark.parametrize("error", [CUDA_ERROR, HOST_ERROR], ids=["cuda", "host"])
def test_with_little_memory_fewer_windows_give_the_same_numbers(most, tried, error, caplog):
    # 18 windows: 3 batches of 6, 6 of 3
    volume = torch.rand((25, 4, 5), generator=torch.Generator().manual_seed(0))
    cpu = choose_compute("cpu", "float32")
    plenty, little = [Small(100), Small(100)], [Small(100), Small(most, error)]
    with caplog.at_level(logging.WARNING, "osteoflow.learning"):
        found = predict_volume(little, volume, LAYOUT, cpu)
    torch.testing.assert_close(found, predict_volume(plenty, volume, LAYOUT, cpu), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0], torch.sigmoid(4 * volume - 2))
    assert list(dict.fromkeys(little[1].given)) == tried
    said = [record.getMessage() for record in caplog.records]
    last = f"out of memory with 6 windows at once: predicted with {tried[-1]}, the scan on cpu"
    assert said == ([last] if len(tried) > 1 else [])


def test_the_scan_stays_on_the_host_when_one_window_is_too_much_beside_it(caplog):
    cuda, tried = torch.device("cuda"), []

    def work(layout, home):
        tried.append((layout.batch, home.type))
        if home == cuda:
            raise CUDA_ERROR
        return "done"

    assert within_memory(work, LAYOUT, cuda) == "done"
    assert tried == [(6, "cuda"), (3, "cuda"), (1, "cuda"), (1, "cpu")]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 6 windows at once: predicted with 1, the scan on cpu"
    ]


def test_memory_that_is_short_for_one_window_is_explained():
    volume, cpu = torch.zeros(20, 4, 5), choose_compute("cpu", "float32")
    network = Small(0)
    with pytest.raises(
        TrainingError, match="out of memory: 2.00 GiB more was asked for; not even one window"
    ):
        predict_volume([network], volume, LAYOUT, cpu)
    assert network.given == [6, 3, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    network = Small(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict_volume([network], torch.zeros(20, 4, 5), LAYOUT, choose_compute("cpu", "float32"))
    assert network.given == [6]


def test_settings_of_the_model_reach_the_ensemble(tmp_path):
    path, *_ = write(tmp_path / "model.pt", 0, intensity={"scale": "range", "low": -500.0, "high": 500.0})
    ensemble = load_models([path], "best", "cpu", "float32")
    assert ensemble.intensity == IntensityConfig(low=-500.0, high=500.0)
    assert ensemble.window_slices == 8
    assert not any(network.training for network in ensemble.networks)


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocessing": {"resample": {"method": "area"}}},
        {"intensity": {"scale": "range", "low": -900.0, "high": 2000.0}},
        {"window_slices": 16},
        {"slice_axis": "y"},
    ],
)
def test_members_trained_on_other_input_do_not_predict_together(tmp_path, changes):
    paths = [write(tmp_path / "a.pt", 0)[0], write(tmp_path / "b.pt", 1, **changes)[0]]
    with pytest.raises(ModelError, match=f"differ in `{next(iter(changes))}`"):
        load_models(paths, "best", "cpu", "float32")


def test_weights_of_another_network_are_refused(tmp_path):
    path, *_ = write(tmp_path / "model.pt", 0, architecture={**NETWORK, "channels": (2, 4)})
    with pytest.raises(ModelError, match="do not fit its own description"):
        load_models([path], "best", "cpu", "float32")


def test_no_models_and_unknown_weights_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no model"):
        load_models([], "best", "cpu", "float32")
    with pytest.raises(ConfigError, match="best or last"):
        load_models([write(tmp_path / "model.pt", 0)[0]], "first", "cpu")


def test_single_is_the_fold_that_validated_best(tmp_path):
    dice = {"fold-0": 0.7, "fold-1": 0.9, "fold-2": 0.9, "fold-3": None}
    paths = [write(tmp_path / name / "model.pt", 0, dice=value)[0] for name, value in dice.items()]
    assert choose_members(paths, "single") == [paths[1]]
    assert choose_members(paths, "ensemble") == paths
    assert choose_members(paths[2:3], "fold-2") == [paths[2]]


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 0},
        {"z_padding": -1},
        {"batch_windows": 0},
        {"heldout_weights": "mean"},
        {"review_member_dice": 1.01},
        {"review_member_dice": float("nan")},
        {"spacing_factor": 0.8},
        {"spacing_factor": float("inf")},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes):
    with pytest.raises(ConfigError, match=f"predict.{next(iter(changes))}"):
        PredictConfig(**changes)


def test_a_scan_cropped_for_other_slices_is_refused(tmp_path):
    ensemble = load_models([write(tmp_path / "model.pt", 0)[0]], "last", "cpu", "float32")
    ensemble.require_slice_axis("z")
    with pytest.raises(ModelError, match="slices along z, and this scan was cropped for slices along y"):
        ensemble.require_slice_axis("y")
