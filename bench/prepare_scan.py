"""What one scan costs before it meets the network: screening, conversion, resampling, crop.

    python bench/prepare_scan.py [SERIES_FOLDER]

Each stage runs in a process of its own, as its rule does, so that start and imports count. The peer is a plain
read of the same series by ITK, which checks nothing. Without a folder a synthetic 512 x 512 series is made first.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = {
    "screen_scan": """
from lib.atomic import write_json
from lib.imaging.crop import CropConfig
from lib.imaging.screening import ScanRequest, ScreeningConfig, screen_scan
screening = screen_scan(series, ScanRequest(), ScreeningConfig(), CropConfig())
write_json("screened.json", screening.to_json())
""",
    "convert_dicom": """
from lib.imaging.dicom import read_scan
from lib.imaging.nifti import write_image
write_image(read_scan(series).image, "converted.nii.gz")
""",
    "resample_ct": """
from lib.imaging.nifti import read_image, write_image
from lib.imaging.resample import ResampleConfig, resample_ct
write_image(resample_ct(read_image("converted.nii.gz"), ResampleConfig()), "resampled.nii.gz")
""",
    "crop_ct": """
from lib.atomic import read_json
from lib.imaging.crop import CropConfig, crop_center, crop_ct
from lib.imaging.nifti import read_image, write_image
center = crop_center("left", read_json("screened.json")["hip"], None)
write_image(crop_ct(read_image("resampled.nii.gz"), center, CropConfig())[0], "cropped.nii.gz")
""",
}
PHANTOM = """
from pathlib import Path
from lib.phantom.people import PhantomConfig
from lib.phantom.scan import make_phantom_scan
folder = Path(series).parent
make_phantom_scan(PhantomConfig(people=1), "P001", folder / "dicom", folder / "mask.nii.gz", folder / "truth.json")
"""
PEER = """
import SimpleITK as sitk
names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(series)
sitk.WriteImage(sitk.ReadImage(names, sitk.sitkInt16), 'peer.nii.gz')
"""


def measure(code: str, series: Path, folder: Path) -> tuple[float, float]:
    """Run code in a fresh process; return its CPU seconds and its peak memory in MB."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); series = {str(series)!r}\n{code}"
    program += (
        "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 'torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak_kb, torch_is_there = printed.split()[-2:]
    assert torch_is_there == "False", "preparation must not import torch"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(peak_kb) / 1024


def main() -> None:
    """Print CPU seconds and peak memory of each stage, and their ratio to the peer's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else folder / "dicom"
        if not series.exists():
            # in a process of its own: a child's peak memory begins with that of its parent
            measure(PHANTOM, series, folder)
        print(f"{sum(1 for path in series.iterdir() if path.suffix)} files")
        peer_s, peer_mb = measure(PEER, series, folder)
        total_s = 0.0
        for stage, code in STAGES.items():
            cpu_s, peak_mb = measure(code, series, folder)
            total_s += cpu_s
            print(f"{stage:20} {cpu_s:6.2f} s CPU {peak_mb:6.0f} MB")
        print(f"{'all stages':20} {total_s:6.2f} s CPU = {total_s / peer_s:.1f} x a plain ITK read and write")
        print(f"{'peer (ITK)':20} {peer_s:6.2f} s CPU {peer_mb:6.0f} MB")


if __name__ == "__main__":
    main()
