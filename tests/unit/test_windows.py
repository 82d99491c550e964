import numpy as np
import pytest
import torch

from lib.learning.windows import WindowLayout, copy_slices, draw_start, sliding_mean, window_starts


def whole_mean(volume, predictor, layout, maps=1):
    """Return the mean prediction (maps, z, y, x) from its slices, which come once each and in order."""
    slices, means = zip(*sliding_mean(volume, predictor, layout, maps), strict=True)
    assert [number for part in slices for number in range(part.start, part.stop)] == list(range(len(volume)))
    assert [part.stop - part.start for part in slices] == [mean.shape[1] for mean in means]
    return torch.cat(means, dim=1)


@pytest.mark.parametrize("window", [8, 32])
@pytest.mark.parametrize("slices", [1, 8, 9, 31, 33])
@pytest.mark.parametrize("step", [1, 3, 8])
@pytest.mark.parametrize("z_padding", [0, 5])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_doubling_predictor_doubles_the_volume(window, slices, step, z_padding, batch):
    volume = torch.rand(slices, 3, 4)
    layout = WindowLayout(window=window, step=step, z_padding=z_padding, batch=batch)
    seen = []

    def double(windows):
        seen.append(tuple(windows.shape))
        return windows * 2

    torch.testing.assert_close(whole_mean(volume, double, layout)[0], volume * 2)
    assert all(1 <= shape[0] <= batch and shape[1:] == (1, window, 3, 4) for shape in seen)


def mean_of_positions(slices, starts, window):
    """For each slice, the mean index of the windows that contain it, by a plain loop over windows and slices."""
    values = [[] for _ in range(slices)]
    for number, start in enumerate(starts):
        for position in range(start, min(start + window, slices)):
            values[position].append(number)
    return np.array([np.mean(found) for found in values])


@pytest.mark.parametrize("slices", [5, 8, 13, 40])
@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("z_padding", [0, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_windows_that_predict_their_number_are_averaged_by_coverage(slices, step, z_padding, batch):
    layout = WindowLayout(window=8, step=step, z_padding=z_padding, batch=batch)
    seen = 0

    def number(windows):
        nonlocal seen
        numbers = torch.arange(seen, seen + len(windows), dtype=torch.float32)
        seen += len(windows)
        return numbers[:, None, None, None, None].expand_as(windows)

    mean = whole_mean(torch.zeros(slices, 2, 3), number, layout)[0]
    padded = slices + 2 * z_padding
    expected = mean_of_positions(padded, window_starts(max(padded, 8), 8, step), 8)
    expected = expected[z_padding : z_padding + slices]
    np.testing.assert_allclose(mean.numpy(), np.broadcast_to(expected[:, None, None], mean.shape), rtol=1e-6)


def test_sums_are_float32_whatever_the_predictor_returns():
    # 1/3 in bf16 is 0.333984375; a sum of 32 of them in bf16 would lose digits
    layout = WindowLayout(window=32, step=1, z_padding=0, batch=4)
    third = torch.tensor(1 / 3, dtype=torch.bfloat16)
    mean = whole_mean(torch.zeros(70, 2, 2), lambda windows: third.expand(windows.shape), layout)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, third.float().expand(mean.shape), rtol=1e-6, atol=0)


def test_every_map_is_averaged_by_itself():
    volume = torch.rand(21, 2, 3)
    layout = WindowLayout(window=8, step=3, z_padding=1, batch=2)
    mean = whole_mean(
        volume, lambda windows: torch.cat([windows, 2 * windows, windows + 1], 1), layout, maps=3
    )
    torch.testing.assert_close(mean, torch.stack([volume, 2 * volume, volume + 1]))


def test_a_step_beyond_the_window_leaves_slices_that_nobody_predicted():
    layout = WindowLayout(window=2, step=3, z_padding=0, batch=1)
    mean = whole_mean(torch.zeros(8, 1, 1), lambda windows: windows + 1, layout)
    assert mean.isnan().flatten().tolist() == [False, False, True, False, False, True, False, False]


def test_step_one_lays_as_many_windows_as_the_paper():
    assert window_starts(60, 32, 1) == list(range(29))


@pytest.mark.parametrize(
    ("slices", "step", "expected"), [(32, 8, [0]), (10, 8, [0]), (50, 8, [0, 8, 16, 18]), (48, 8, [0, 8, 16])]
)
def test_the_last_window_ends_with_the_scan(slices, step, expected):
    assert window_starts(slices, 32, step) == expected


def test_a_slice_is_the_mean_of_the_windows_that_see_it():
    # windows of 2 over 4 slices start at 0, 1, 2; each predicts its own first slice's value everywhere
    volume = torch.tensor([1.0, 10.0, 100.0, 1000.0]).reshape(4, 1, 1)
    layout = WindowLayout(window=2, step=1, z_padding=0, batch=2)
    mean = whole_mean(volume, lambda windows: windows[:, :, :1].expand(-1, -1, 2, -1, -1), layout)
    assert mean.flatten().tolist() == [1.0, 5.5, 55.0, 100.0]


def test_z_padding_replicates_the_end_slices():
    volume = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    layout = WindowLayout(window=7, step=1, z_padding=2, batch=1)
    windows = []
    whole_mean(volume, lambda batch: windows.append(batch) or batch, layout)
    assert windows[0].flatten().tolist() == [1, 1, 1, 2, 3, 3, 3]


def test_slices_beyond_the_scan_are_filled():
    volume = torch.arange(3, dtype=torch.int16).reshape(3, 1, 1)
    long, short = (torch.empty((count, 1, 1), dtype=torch.int16) for count in (7, 2))
    copy_slices(volume, -2, long, fill=-1024)
    copy_slices(volume, 1, short, fill=-1024)
    assert long.flatten().tolist() == [-1024, -1024, 0, 1, 2, -1024, -1024]
    assert short.flatten().tolist() == [1, 2]


def test_starts_are_drawn_over_the_whole_scan():
    generator = np.random.default_rng(0)
    assert {draw_start(10, 8, generator) for _ in range(100)} == {0, 1, 2}
    assert draw_start(5, 8, generator) == 0
