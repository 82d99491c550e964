"""The images of an MR scan: coronal slices and the other series of the folder, with what a defect changes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lib.phantom.people import PhantomPerson
from lib.phantom.scanner.machines import MrProtocol, MrScanner
from lib.phantom.scanner.mr import MrImages
from lib.phantom.series.dicom_series import SliceImage
from lib.phantom.series.planes import AXIAL, CORONAL, SAGITTAL, Plane, cut_slices
from lib.phantom.voxelize import VoxelGrid

MR_PLANE = CORONAL
_SLICE_TYPE = ("ORIGINAL", "PRIMARY", "M")
_SCOUT_TYPE = ("ORIGINAL", "PRIMARY", "LOCALIZER")
_SUBTRACTION_TYPE = ("DERIVED", "SECONDARY", "SUBTRACTION")


def mr_images(
    made: MrImages, grid: VoxelGrid, person: PhantomPerson, attributes: Mapping[str, object]
) -> list[SliceImage]:
    """Return the images of a scan, series after series, with the defect of `person`.

    A folder holds four series, as those of real examinations do: the wanted one, a localizer in three planes, the
    fat-suppressed images, and their difference from the wanted ones, both at the same places. With the defect
    localizer the last two are missing. Slices that are missing or stand twice are of the wanted series.
    """
    images = plane_images(made.t1_zyx, grid, MR_PLANE, attributes)
    middle = len(images) // 2
    if person.defect == "missing_slice":
        del images[middle]
    elif person.defect == "duplicated_slice":
        images.append(replace(images[middle], stored=images[middle - 1].stored))
    images.extend(_localizer(made.t1_zyx, grid, attributes))
    if made.suppressed_zyx is not None:
        images.extend(_second_series(made, grid, attributes))
    return images


def plane_images(
    stored_zyx: np.ndarray, grid: VoxelGrid, plane: Plane, attributes: Mapping[str, object]
) -> list[SliceImage]:
    """Return all slices of a volume of stored numbers in a plane."""
    stack = cut_slices(stored_zyx, grid, plane)
    d_column, d_row, thickness_mm = stack.spacing_ijk_mm
    positions = [stack.position_xyz_mm(k) for k in range(len(stack.values))]
    axis, sign = plane.normal
    return [
        SliceImage(
            stored=stored,
            position_xyz_mm=position,
            location_mm=sign * position[axis],
            spacing_yx_mm=(d_row, d_column),
            thickness_mm=thickness_mm,
            series="main",
            orientation=plane.orientation,
            image_type=_SLICE_TYPE,
            attributes=attributes,
        )
        for stored, position in zip(stack.values, positions, strict=True)
    ]


def mr_attributes(person: PhantomPerson, scanner: MrScanner, protocol: MrProtocol) -> dict[str, object]:
    """Return the attributes of a T1-weighted spoiled gradient echo, or of a CT for the defect wrong_modality."""
    if person.defect == "wrong_modality":
        return {"Modality": "CT", "KVP": "120", "RescaleIntercept": "0", "RescaleSlope": "1"}
    manufacturer, model = person.machine(scanner)
    rescale = {
        "RescaleIntercept": "0",
        "RescaleSlope": f"{protocol.rescale_slope or 1:g}",
        "RescaleType": "US",
    }
    return (rescale if protocol.rescale_slope else {}) | {
        "Modality": "MR",
        "Manufacturer": manufacturer,
        "ManufacturerModelName": model,
        "MagneticFieldStrength": f"{scanner.field_tesla:g}",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "SequenceName": "fl3d1",
        "RepetitionTime": f"{protocol.tr_ms:g}",
        "EchoTime": f"{protocol.te_ms:g}",
        "EchoTrainLength": 1,
        "FlipAngle": f"{protocol.flip_degrees:g}",
        "NumberOfAverages": "1",
        "ReceiveCoilName": "Surface",
        "InPlanePhaseEncodingDirection": "ROW",
        "SpacingBetweenSlices": f"{protocol.slice_mm:g}",
        "WindowCenter": "500",
        "WindowWidth": "1000",
    }


def _second_series(made: MrImages, grid: VoxelGrid, attributes: Mapping[str, object]) -> list[SliceImage]:
    """Return the fat-suppressed images, and what they lack of the wanted ones as a derived series."""
    suppressed = attributes | {"ScanOptions": "FS"}
    less = np.clip(made.t1_zyx.astype(np.int32) - made.suppressed_zyx, 0, None)
    return [
        *(
            replace(image, series="second")
            for image in plane_images(made.suppressed_zyx, grid, MR_PLANE, suppressed)
        ),
        *(
            replace(image, series="subtraction", image_type=_SUBTRACTION_TYPE)
            for image in plane_images(less, grid, MR_PLANE, attributes)
        ),
    ]


def _localizer(stored_zyx: np.ndarray, grid: VoxelGrid, attributes: Mapping[str, object]) -> list[SliceImage]:
    """Return the middle slice in each of three planes."""
    stacks = (plane_images(stored_zyx, grid, plane, attributes) for plane in (AXIAL, CORONAL, SAGITTAL))
    return [replace(stack[len(stack) // 2], series="localizer", image_type=_SCOUT_TYPE) for stack in stacks]
