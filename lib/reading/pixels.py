"""From the stored values of a DICOM slice to HU, or the signal of an MR: decoding, rescaling, padding."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from lib.catalog.modalities import Modality
from lib.imaging.stored import to_int16
from lib.reading.headers import SliceHeader

# The decoder of each syntax is fixed, because installed decoders may differ in their results, and the GPL package
# pylibjpeg-libjpeg must not be needed. Uncompressed syntaxes need no decoder.
_DECODERS = {
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "gdcm",
    JPEGExtended12Bit: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}

# A padding value with one of these intensities cannot be distinguished from tissue or bone.
_TISSUE_HU = (-900, 3071)


@dataclass(frozen=True, kw_only=True)
class DecodedSlice:
    """One slice (rows, columns), and whether its declared padding value was kept as tissue.

    `values` are HU in int16, or of an MR float32.
    """

    values: np.ndarray
    kept_padding: bool

    @property
    def blank(self) -> bool:
        """Whether all pixels are equal."""
        return bool(self.values.min() == self.values.max())


def decode_slice(dataset: Dataset, header: SliceHeader, modality: Modality) -> DecodedSlice:
    """Decode one slice and rescale it, by its own slope and intercept.

    Pixels of the declared padding value become the modality's value outside, and values of a CT below -1024 HU become
    -1024. A missing slope or intercept is taken as 1 and 0: screening refuses CT without them.

    Raises:
        Exception: any exception of the decoders on damaged data (see `lib.reading.dicom`), or ValueError if the
            image has another size than its header states.
    """
    stored = _decode(dataset, header.frame)
    if stored.shape != (header.rows, header.columns):
        raise ValueError(f"{stored.shape} pixels where the header states {(header.rows, header.columns)}")
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    is_hu = modality.unit == "HU"
    padding, kept = (
        _padding(dataset, stored, slope, intercept) if is_hu else (_declared(dataset, stored), False)
    )
    values = _used_bits(dataset, stored) * np.float32(slope) + np.float32(intercept)
    values[padding] = modality.outside
    return DecodedSlice(values=to_int16(values, modality.lowest) if is_hu else values, kept_padding=kept)


def _decode(dataset: Dataset, frame: int) -> np.ndarray:
    """Return the stored values of one frame, including unused high bits."""
    options = {"raw": True, "correct_unused_bits": False, "index": frame}
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _DECODERS:
        options["decoding_plugin"] = _DECODERS[syntax]
    return pixel_array(dataset, **options)


def _padding(dataset: Dataset, stored: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, bool]:
    """Return which pixels are padding, and whether the declared padding value was ignored as possible tissue."""
    padding = _sign_extended(dataset, stored, slope, intercept)
    low, high = ends = _padding_range(dataset, stored.dtype)
    if None in ends:
        return padding, False
    pixels = (stored >= low) & (stored <= high)
    hu = sorted((low * slope + intercept, high * slope + intercept))
    if hu[1] > _TISSUE_HU[0] and hu[0] < _TISSUE_HU[1]:
        return padding, bool(pixels.any())
    return padding | pixels, False


def _declared(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return which pixels have a declared padding value."""
    low, high = ends = _padding_range(dataset, stored.dtype)
    return np.zeros(stored.shape, bool) if None in ends else (stored >= low) & (stored <= high)


def _padding_range(dataset: Dataset, dtype: np.dtype) -> tuple[int, int] | tuple[None, None]:
    """Return the smallest and the largest stored value of padding; None twice if none is declared."""
    declared = _whole_number(dataset.get("PixelPaddingValue"))
    if declared is None:
        return None, None
    limit = _whole_number(dataset.get("PixelPaddingRangeLimit"))
    low, high = sorted(_as_stored(value, dtype) for value in (declared, declared if limit is None else limit))
    return low, high


def _whole_number(value: object) -> int | None:
    """Return a value of the header as a whole number; None if it is empty or several numbers."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _as_stored(value: int, dtype: np.dtype) -> int:
    """Return a 16-bit number in the range of `dtype`, also if it was written with the wrong sign."""
    if dtype == np.uint16 and value < 0:
        return value + 65536
    return value - 65536 if dtype == np.int16 and value > 32767 else value


def _sign_extended(dataset: Dataset, stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return the pixels of an unsigned image that are negative numbers: unused bits and the highest used bit are set.

    Scanners write them outside the scan circle (-2000 as 63536 of 12 used bits); masking the unused bits would turn
    them into bone.

    Raises:
        ValueError: some of them are tissue, so the image holds signed numbers but declares them unsigned.
    """
    unused = _unused_bits(dataset)
    if not unused or dataset.PixelRepresentation:
        return np.zeros(stored.shape, bool)
    negative = (stored >> np.uint16(dataset.BitsStored - 1)) == (2 << unused) - 1
    if (stored.view(np.int16)[negative] * slope + intercept > _TISSUE_HU[0]).any():
        raise ValueError("negative numbers of tissue in an image declared unsigned")
    return negative


def _used_bits(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return `stored` with the unused high bits (once used for overlays) replaced by zeros or the sign."""
    unused = _unused_bits(dataset)
    return (stored << unused) >> unused if unused else stored


def _unused_bits(dataset: Dataset) -> int:
    if dataset.BitsAllocated != 16 or dataset.HighBit != dataset.BitsStored - 1:
        return 0
    return dataset.BitsAllocated - dataset.BitsStored
