"""The synthetic CT hips stay as they are: headers and names byte for byte, voxels and truth within rounding.

Whole files are not compared: the last bit of a float depends on the processor, and after rounding to whole HU it can
change a voxel by one.
"""

import hashlib
import json

import numpy as np
import pytest
import SimpleITK as sitk

from lib.phantom.people import DEFECTS, PhantomConfig, phantom_people
from lib.phantom.scan import make_phantom_scan

CONFIG = PhantomConfig(
    people=1, hard_people=1, unlabelled_people=1, matrix=32, slice_mm=8.0, supersampling=1, defects=DEFECTS
)
PIXELS = b"\xe0\x7f\x10\x00OW"  # the tag of the pixel data, the last element of a file
# scan -> files; digest of names and headers; voxels of the mask; exact volume, mm3; mean HU and HU of some voxels
KNOWN = {
    "P001": (13, "b0f9c2149c3cc777", 68, 90004.3, -670.89, [-65, -100, 431, -108, 33, 55, -104, 51, -999]),
    "H01": (16, "42e0cccb3cee05ad", 94, 107981.0, -564.23, [-104, 49, 347, 227, 22, 51, 46, -4, -111]),
    "U01": (16, "0fe2a9ea0d6e9ce8", 113, 128795.7, -516.23, [-114, 480, 126, 208, -3, -112, -39, 1002, -98]),
    "X01-missing-slice": (
        13,
        "ce550e05f43ecc8a",
        56,
        117739.1,
        -757.17,
        [-1000, 52, 168, 144, 34, 52, 1081, -113, -1000],
    ),
    "X02-duplicated-slice": (
        18,
        "72f4f86e42f0e04a",
        147,
        184452.9,
        -493.21,
        [59, -22, 309, 5, 36, -107, 290, 58, -68],
    ),
    "X03-truncated-file": (
        16,
        "b8ccbe13503d5971",
        71,
        115797.4,
        -727.34,
        [-1000, 51, 325, 45, 35, 25, 39, 57, -1000],
    ),
    "X04-wrong-modality": (
        18,
        "57fd2fc553e33395",
        104,
        190460.8,
        -638.05,
        [-113, -106, 197, -18, 49, 3, 224, 173, -1000],
    ),
    "X05-localizer": (
        17,
        "c9423e777210736b",
        85,
        108580.3,
        -535.96,
        [-628, 77, 260, 31, 27, 53, 549, -107, -106],
    ),
    "X06-second-series": (
        24,
        "7031dc482b3bc973",
        100,
        144080.9,
        -590.56,
        [-62, 251, 48, -108, -3, -11, 58, -46, -101],
    ),
    "X07-metal-nail": (
        15,
        "66e4f0d61eba36cf",
        88,
        148222.3,
        -698.55,
        [-1000, 36, 775, -99, 31, 104, 3071, 50, -1000],
    ),
    "X08-right-side": (
        19,
        "d436d65e8d04c126",
        122,
        175621.5,
        -591.1,
        [55, 55, 52, 37, -41, -59, 295, -105, 58],
    ),
    "X09-repeat": (14, "fbd72df08f83b19c", 63, 90725.9, -691.84, [-986, 54, 415, 42, 16, 36, 407, 52, -1000]),
}


def fingerprint(folder):
    """Return of a written scan what `KNOWN` lists."""
    headers, pixels = hashlib.sha256(), []
    files = sorted((folder / "dicom").iterdir())
    for path in files:
        header, _, rest = path.read_bytes().partition(PIXELS)
        headers.update(path.name.encode() + header)
        pixels.append(np.frombuffer(rest[6 : len(rest) // 2 * 2], "<u2"))
    hu = np.concatenate(pixels).astype(int) - 1024
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.nii.gz")))
    truth = json.loads((folder / "truth.json").read_text())
    row = 14 * CONFIG.matrix  # through both hips
    places = [
        int(image[row + 4 + 3 * k]) - 1024 for k, image in enumerate(pixels[:9]) if len(image) > row + 40
    ]
    return (
        len(files),
        headers.hexdigest()[:16],
        int(mask.sum()),
        round(truth["exact_mm3"], 1),
        round(float(hu.mean()), 2),
        places,
    )


@pytest.mark.parametrize("scan", [person.scan for person in phantom_people(CONFIG)])
def test_a_ct_hip_is_the_one_it_was(scan, tmp_path):
    make_phantom_scan(CONFIG, scan, tmp_path / "dicom", tmp_path / "mask.nii.gz", tmp_path / "truth.json")
    found = fingerprint(tmp_path)
    files, headers, voxels, exact_mm3, mean_hu, hu = KNOWN[scan]
    assert found[:2] == (files, headers)
    assert found[2] == pytest.approx(voxels, abs=1)
    assert found[3] == pytest.approx(exact_mm3, abs=0.2)
    assert found[4] == pytest.approx(mean_hu, abs=0.02)
    assert found[5] == pytest.approx(hu, abs=1)
