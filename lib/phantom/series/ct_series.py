"""The images of a CT scan: axial slices in HU, with those that a defect adds and without those that it drops."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lib.phantom.people import PhantomPerson
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.series.dicom_series import SliceImage, decimal
from lib.phantom.series.planes import AXIAL, CORONAL, SliceStack, cut_slices
from lib.phantom.voxelize import VoxelGrid

CT_PLANE = AXIAL
_INTERCEPT = -1024
_LOWEST_HU, _HIGHEST_HU = -1024, 3071
_AGENT = "IOHEXOL"
_SHARP_KERNEL, _SCOUT_KERNEL = "B60s", "T20s"
_HU_ATTRIBUTES = {
    "RescaleIntercept": str(_INTERCEPT),
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": "50",
    "WindowWidth": "400",
}
_OTHER_MODALITY = {"Modality": "MR", "ScanningSequence": "SE", "EchoTime": "12", "RepetitionTime": "550"}
_SLICE_TYPE = ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI")
_SCOUT_TYPE = ("ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP")


def ct_images(
    hu_zyx: np.ndarray, grid: VoxelGrid, person: PhantomPerson, scanner: CtScanner, rng: np.random.Generator
) -> list[SliceImage]:
    """Return the images of a scan (int16 HU zyx), lowest slice first, with the defect of `person`."""
    stack = cut_slices(hu_zyx, grid, CT_PLANE)
    usual = _attributes(person, scanner, scanner.kernel, grid)
    images = [_axial(stack, k, stack.values[k], usual) for k in range(len(stack.values))]
    middle = len(images) // 2
    if person.defect == "missing_slice":
        del images[middle]
    elif person.defect == "duplicated_slice":
        other = hu_zyx[middle] + rng.normal(0, 15, hu_zyx[middle].shape)
        other = np.clip(other, _LOWEST_HU, _HIGHEST_HU).astype(np.int16)
        images.append(_axial(stack, middle, other, usual))
    elif person.defect == "localizer":
        images.append(_localizer(hu_zyx, grid, _attributes(person, scanner, _SCOUT_KERNEL, grid)))
    elif person.defect == "second_series":
        images.extend(_second_series(stack, _attributes(person, scanner, _SHARP_KERNEL, grid)))
    return images


def _axial(stack: SliceStack, k: float, hu_yx: np.ndarray, attributes: Mapping[str, object]) -> SliceImage:
    dx, dy, dz = stack.spacing_ijk_mm
    position = stack.position_xyz_mm(k)
    return SliceImage(
        stored=_stored(hu_yx),
        position_xyz_mm=position,
        location_mm=position[2],
        spacing_yx_mm=(dy, dx),
        thickness_mm=dz,
        series="main",
        orientation=CT_PLANE.orientation,
        image_type=_SLICE_TYPE,
        attributes=attributes,
    )


def _second_series(stack: SliceStack, attributes: Mapping[str, object]) -> list[SliceImage]:
    """Return another reconstruction of the same scan: averages of pairs of slices, labelled with a sharp kernel."""
    hu = stack.values
    pairs = [(k, np.rint(hu[k : k + 2].mean(axis=0)).astype(np.int16)) for k in range(0, len(hu) - 1, 2)]
    thickness_mm = 2 * stack.spacing_ijk_mm[2]
    return [
        replace(_axial(stack, k + 0.5, mean, attributes), series="second", thickness_mm=thickness_mm)
        for k, mean in pairs
    ]


def _localizer(hu_zyx: np.ndarray, grid: VoxelGrid, attributes: Mapping[str, object]) -> SliceImage:
    """Return the scout view from the front, head up; rows run downward (-z)."""
    x, y, z = grid.origin_xyz_mm
    dx, dy, dz = grid.spacing_xyz_mm
    seen = hu_zyx[::-1].mean(axis=1, dtype=np.float32)
    top_mm = z + dz * (grid.size_xyz[2] - 1)
    return SliceImage(
        stored=_stored(np.rint(seen)),
        position_xyz_mm=(x, y + 0.5 * dy * grid.size_xyz[1], top_mm),
        location_mm=top_mm,
        spacing_yx_mm=(dz, dx),
        thickness_mm=dy * grid.size_xyz[1],
        series="localizer",
        orientation=CORONAL.orientation,
        image_type=_SCOUT_TYPE,
        attributes=attributes,
    )


def _attributes(person: PhantomPerson, scanner: CtScanner, kernel: str, grid: VoxelGrid) -> dict[str, object]:
    """Return what a Siemens Sensation 64 writes for an examination, with another name; contrast agent, if any."""
    if person.defect == "wrong_modality":
        return _OTHER_MODALITY | _HU_ATTRIBUTES
    manufacturer, model = person.machine(scanner)
    agent = {"ContrastBolusAgent": _AGENT} if person.defect == "contrast" else {}
    return (
        _HU_ATTRIBUTES
        | agent
        | {
            "Modality": "CT",
            "Manufacturer": manufacturer,
            "ManufacturerModelName": model,
            "KVP": "120",
            "XRayTubeCurrent": 190,
            "Exposure": 150,
            "ExposureTime": 500,
            "SpiralPitchFactor": 0.9,
            "ConvolutionKernel": kernel,
            "GantryDetectorTilt": "0",
            "TableHeight": "155",
            "RotationDirection": "CW",
            "DataCollectionDiameter": "500",
            "ReconstructionDiameter": decimal(grid.spacing_xyz_mm[0] * grid.size_xyz[0]),
        }
    )


def _stored(hu_yx: np.ndarray) -> np.ndarray:
    return hu_yx.astype(np.int32) - _INTERCEPT
