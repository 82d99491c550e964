import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import TrainingError
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.scan_store import ScanStore, StoredScan, TrainingScan
from lib.learning.staging import Staging, one_ahead

CPU, CT = torch.device("cpu"), fixed_range(IntensityConfig())
# of memory (device_gb, host_gb), for the 3 * 600 = 1800 bytes of a scan of 10 slices
ROOMS = {"device": (1, 0), "host": (0, 1), "file": (0, 0)}


def scan(name="s0", slices=10, inplane=(10, 6), seed=0, spacing=(3.0, 0.8, 0.8)):
    generator = np.random.default_rng(seed)
    shape = (slices, *inplane)
    image = generator.integers(-1000, 2000, shape).astype(np.int16)
    return TrainingScan(name, image, generator.integers(0, 2, shape).astype(np.uint8), spacing, CT)


SCANS = [scan(f"s{i}", slices, seed=i) for i, slices in enumerate((10, 13, 7))]
REQUESTS = [([0, 2], [3, -2]), ([1], [9]), ([2, 1, 0], [-4, 0, 6])]  # beyond one end, the other, and both


def store(scans, folder, device_gb=1.0, host_gb=0.0):
    return ScanStore(scans, CPU, device_gb=device_gb, host_gb=host_gb, spill_folder=folder)


@pytest.mark.parametrize("placement", ROOMS)
def test_windows_are_the_slices_asked_for_wherever_the_scans_lie(tmp_path, placement):
    stored = store(iter(SCANS), tmp_path, *ROOMS[placement])
    assert stored.placement == placement
    for indices, starts in REQUESTS:
        image, mask = stored.windows(indices, starts, 8)
        assert image.shape == mask.shape == (len(indices), 1, 8, 10, 6)
        assert (image.dtype, mask.dtype) == (torch.int16, torch.uint8)
        for row, (index, start) in enumerate(zip(indices, starts, strict=True)):
            for z in range(8):
                inside = 0 <= start + z < SCANS[index].image_zyx.shape[0]
                hu = SCANS[index].image_zyx[start + z] if inside else CT.padding
                bone = SCANS[index].labels_zyx[start + z] if inside else 0
                assert (image[row, 0, z].numpy() == hu).all() and (mask[row, 0, z].numpy() == bone).all()


def test_beyond_the_ends_of_a_scan_lies_its_own_padding(tmp_path):
    scans = [replace(scan(), intensity=replace(CT, padding=padding)) for padding in (-1024, 35)]
    image, _ = store(scans, tmp_path).windows([0, 1], [-2, -2], 4)
    assert [set(window[0, :2].unique().tolist()) for window in image] == [{-1024}, {35}]


@pytest.mark.parametrize("placement", ROOMS)
def test_whole_scans_come_back_as_they_were(tmp_path, placement):
    stored = store(iter(SCANS), tmp_path, *ROOMS[placement])
    for index, original in enumerate(SCANS):
        image, mask = stored.volume(index)
        np.testing.assert_array_equal(image.numpy(), original.image_zyx)
        np.testing.assert_array_equal(mask.numpy(), original.labels_zyx)


@pytest.mark.parametrize("placement", ROOMS)
def test_a_stream_is_its_windows_in_order(tmp_path, placement):
    stored = store(SCANS, tmp_path, *ROOMS[placement])
    for streamed, request in zip(stored.stream(iter(REQUESTS), 5), REQUESTS, strict=True):
        assert all(map(torch.equal, streamed, stored.windows(*request, 5)))


class LateCopy:
    """A copy that does not begin before someone waits for it."""

    def __init__(self, buffers):
        self._buffers = buffers
        self._batch = tuple(torch.empty_like(buffer) for buffer in buffers)
        self._ended = False

    def wait(self):
        if not self._ended:
            for tensor, buffer in zip(self._batch, self._buffers, strict=True):
                tensor.copy_(buffer)
        self._ended = True

    def receive(self):
        return self._batch


def received(stream_through):
    """Return all batches of a stream whose copies end as late as possible, after the last was received."""
    copies = []

    def send(buffers):
        copies.append(LateCopy(buffers))
        return copies[-1]

    batches = list(stream_through(send))
    for copy in copies:
        copy.wait()
    return batches


@pytest.mark.parametrize("placement", ["host", "file"])
def test_a_stream_through_host_buffers_is_its_windows_in_order(tmp_path, placement):
    stored, requests = store(SCANS, tmp_path, *ROOMS[placement]), REQUESTS * 4
    batches = received(lambda send: stored.staged(requests, 5, send))
    for batch, request in zip(batches, requests, strict=True):
        assert all(map(torch.equal, batch, stored.windows(*request, 5)))


def test_scans_move_on_when_they_outgrow_their_place(tmp_path):
    scans = [scan(f"s{i}", seed=i) for i in range(4)]  # 7200 bytes
    for device_gb, host_gb, placement in (
        (7200e-9, 0, "device"),
        (7199e-9, 7200e-9, "host"),
        (2000e-9, 7199e-9, "file"),
        (7199e-9, 2000e-9, "file"),
    ):
        stored = store(scans, tmp_path, device_gb, host_gb)
        assert (stored.placement, stored.bytes) == (placement, 7200)
        for index, original in enumerate(scans):
            np.testing.assert_array_equal(stored.volume(index)[0].numpy(), original.image_zyx)


def test_a_spilled_cohort_leaves_nothing_in_the_folder(tmp_path):
    stored = store(SCANS, tmp_path, 0, 0)
    assert stored.placement == "file"
    assert list(tmp_path.iterdir()) == []
    assert stored.volume(0)[1].sum() == SCANS[0].labels_zyx.sum()


def test_a_folder_that_cannot_take_the_file_is_named_with_what_helps(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(TrainingError, match=r"taken: File exists; .*train\.host_cache_gb"):
        store(SCANS, tmp_path / "taken", 0, 0)


def test_the_folder_of_the_file_is_made_where_it_is_missing(tmp_path):
    assert store(SCANS, tmp_path / "made" / "here", 0, 0).placement == "file"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of file sizes are those of Linux")
def test_a_disk_that_fills_up_is_said():
    limited = """
import resource, signal, sys, tempfile
from pathlib import Path
sys.path.insert(0, "tests/unit")
from test_scan_store import SCANS, store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # the first scan fits, the second does not
store(SCANS, Path(tempfile.gettempdir()), 0, 0)
"""
    assert "TrainingError: the cohort does not fit into memory" in run_python(limited).stderr


def test_memory_that_is_refused_is_said_with_what_helps(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("lib.learning.scan_store.mmap.mmap", refuse)
    with pytest.raises(TrainingError, match=r"out of memory.*train\.host_cache_gb"):
        store([scan()], tmp_path)


def test_the_store_keeps_what_is_known_of_each_scan(tmp_path):
    stored = store(SCANS[:2], tmp_path)
    assert stored.shares == tuple((scan.labels_zyx.mean(),) for scan in SCANS[:2])
    assert stored.scans == (
        StoredScan("s0", (10, 10, 6), (3.0, 0.8, 0.8), CT),
        StoredScan("s1", (13, 10, 6), (3.0, 0.8, 0.8), CT),
    )
    assert store([], tmp_path).scans == ()


def test_changing_the_source_later_changes_nothing(tmp_path):
    original = scan()
    stored = store([original], tmp_path)
    before = stored.volume(0)[0].clone()
    original.image_zyx[:] = 0
    assert torch.equal(stored.volume(0)[0], before)


def test_the_digest_depends_on_all_that_is_stored_and_not_on_where(tmp_path):
    same = [store(SCANS, tmp_path, *room).digest for room in ROOMS.values()]
    other_voxel, other_mask = scan(seed=0), scan(seed=0)
    other_voxel.image_zyx[9, 9, 5] += 1
    other_mask.labels_zyx[0, 0, 0] ^= 1
    folded = TrainingScan(
        "s0", *(a.reshape(5, 20, 6) for a in (scan().image_zyx, scan().labels_zyx)), (3.0, 0.8, 0.8), CT
    )
    others = [
        [scan(), *reversed(SCANS[1:])],
        SCANS[:2],
        *(
            [changed, *SCANS[1:]]
            for changed in (other_voxel, other_mask, scan("t0"), scan(spacing=(3.0, 0.8, 0.9)))
        ),
        [folded],
        [replace(scan(), intensity=replace(CT, high=1000.0)), *SCANS[1:]],
        [scan()],
        [],
    ]
    digests = [store(scans, tmp_path).digest for scans in others]
    assert len(set(same)) == 1 and len({*same, *digests}) == 1 + len(others)


@pytest.mark.parametrize(
    ("image", "mask", "found"),
    [
        (np.zeros((4, 10, 6), np.float32), np.zeros((4, 10, 6), np.uint8), "float32 and uint8"),
        (np.zeros((4, 10, 6), np.int16), np.zeros((4, 10, 6), bool), "int16 and bool"),
        (np.zeros((4, 10, 7), np.int16), np.zeros((4, 10, 7), np.uint8), r"\(10, 6\) voxels"),
        (np.zeros((4, 10, 6), np.int16), np.zeros((5, 10, 6), np.uint8), r"reference \(5, 10, 6\)"),
    ],
)
def test_a_scan_that_fits_no_batch_is_refused_by_name(tmp_path, image, mask, found):
    with pytest.raises(TrainingError, match=f"scan odd: .*{found}"):
        store([scan(), TrainingScan("odd", image, mask, (3.0, 0.8, 0.8), CT)], tmp_path)


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.scan_store import ScanStore, TrainingScan

def scans():
    for i in range(60):
        whole = np.full((40, 160, 160), i, np.int32)  # larger than the scan that is cut from it
        arrays = whole[4:24].astype(np.int16), (whole[4:24] % 2).astype(np.uint8)
        yield TrainingScan(f"s{i}", *arrays, (3.0, 1.0, 1.0), fixed_range(IntensityConfig()))

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
device_gb, host_gb = map(float, sys.argv[1:3])
before = peak()
store = ScanStore(
    scans(), torch.device("cpu"), device_gb=device_gb, host_gb=host_gb, spill_folder=Path(sys.argv[3])
)
print(store.placement, store.bytes, peak() - before)
"""


def run_python(code, *arguments):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize(("device_gb", "host_gb", "held"), [(1, 0, 92e6), (0.04, 1, 92e6), (0, 0.03, 30e6)])
def test_the_cohort_is_never_in_memory_twice(tmp_path, device_gb, host_gb, held):
    result = run_python(PEAK, device_gb, host_gb, tmp_path)
    _, size, peak = result.stdout.split()
    assert int(size) == 60 * 3 * 20 * 160 * 160
    assert int(peak) < held + 0.2 * int(size), result.stdout


def test_no_buffer_is_filled_while_its_copy_is_under_way():
    allocated = []

    def allocate(size):
        allocated.append(size)
        return (torch.empty(size),)

    def numbers(send):
        staging = Staging(allocate, send)
        for copy in one_ahead(
            range(20), lambda number: staging.load(1 + number % 3, lambda batch: batch[0].fill_(number))
        ):
            yield copy.receive()

    assert [batch[0].tolist() for batch in received(numbers)] == [[n] * (1 + n % 3) for n in range(20)]
    assert allocated == [1, 2, 3, 3]  # two buffers, which are replaced only for a larger batch


def test_the_next_result_is_made_while_the_caller_has_one():
    second_made = threading.Event()

    def work(number):
        if number == 1:
            second_made.set()
        return number

    results = one_ahead(range(3), work)
    assert next(results) == 0
    assert second_made.wait(timeout=30)
    assert list(results) == [1, 2]


def test_an_error_of_the_thread_is_raised_in_its_turn():
    results = one_ahead([2, 1, 0, 1], lambda number: 2 // number)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_thread_ends_when_the_iterator_is_closed_early():
    def staging_threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith("staging")]

    results = one_ahead(iter(int, 1), lambda zero: zero)
    next(results)
    assert staging_threads()
    results.close()
    assert not staging_threads()
