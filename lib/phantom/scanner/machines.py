"""Settings of synthetic scanners, and of the MR protocol.

Only the standard library is imported: the workflow reads these settings while Snakemake parses.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from lib.catalog.calibration import MICHALSKI, REFERENCED
from lib.errors import ConfigError
from lib.phantom.density_phantoms import DENSITY_PHANTOMS

USUAL_NOISE_HU = 18.5
OWN_TISSUES = (REFERENCED, MICHALSKI)
"""How a scan without a density phantom can be calibrated."""
# of 420 femurs of the shape model, in 120 mm from head to foot, the largest was 107 mm wide and 88 mm deep
_LEAST_FIELD_MM, _LEAST_DEPTH_MM = 120.0, 90.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,15}")
_MAKER = re.compile(r"[A-Za-z][A-Za-z0-9 ]{0,31}")


@dataclass(frozen=True, kw_only=True)
class CtScanner:
    """A CT scanner: what it writes into headers, its kernel and noise, and how its HU are off.

    `kernel` is the kernel's name and `kernel_mm` its blur (Gaussian sigma), `noise_hu` the mean noise SD in the
    middle of the body, from which scans differ by up to 35 %. HU shown = gain * HU + offset_hu, see `gain`; so gain
    and drift act about water. `density_phantom` lies beneath people; empty: that of the cohort. `calibration`, one of
    OWN_TISSUES, is what the cohort table asks for where there is none; empty: a scan of the phantom alone, if any.

    A scanner that does not train sees nobody of `phantom.people`. `test_people` are further people of its own, for
    the test. `pixel_mm` is its range of pixel sizes at 512 pixels per row; empty: that of the cohort.
    """

    manufacturer: str = ""
    kernel: str = "B30s"
    kernel_mm: float = 0.54
    noise_hu: float = USUAL_NOISE_HU
    scale: float = 1.0
    offset_hu: float = 0.0
    drift_per_year: float = 0.0
    drift_per_scan: float = 0.0
    density_phantom: str = ""
    calibration: str = ""
    pixel_mm: Sequence[float] = ()
    trains: bool = True
    test_people: int = 0

    def check(self, where: str) -> None:
        """Raise `ConfigError` with the key below `where` that is out of range."""
        require_text(f"{where}.kernel", self.kernel, _NAME)
        require_integer(f"{where}.test_people", self.test_people, low=0, high=10_000)
        if not isinstance(self.trains, bool):
            raise ConfigError(f"phantom.{where}.trains is {self.trains!r}: expected true or false")
        for key, low, high in (
            ("kernel_mm", 0.2, 2.0),
            ("noise_hu", 0.0, 100.0),
            ("scale", 0.5, 1.5),
            ("offset_hu", -100.0, 100.0),
            ("drift_per_year", -0.1, 0.1),
            ("drift_per_scan", -0.1, 0.1),
        ):
            require_number(f"{where}.{key}", getattr(self, key), low=low, high=high)
        require_phantom(f"{where}.density_phantom", self.density_phantom)
        if self.calibration not in ("", *OWN_TISSUES):
            raise ConfigError(
                f"phantom.{where}.calibration is {self.calibration!r}: expected {' or '.join(OWN_TISSUES)}, or "
                "nothing"
            )

    def gain(self, years: float, order: int) -> float:
        """Return the factor on HU: scale * (1 + drift_per_year * years + drift_per_scan * (order - 1)).

        `years` count from `lib.phantom.people.FIRST_DATE`, `order` from 1 over the scanner's scans; 0: not counted.
        """
        return self.scale * (1.0 + self.drift_per_year * years + self.drift_per_scan * max(order - 1, 0))


@dataclass(frozen=True, kw_only=True)
class MrScanner:
    """An MR scanner: manufacturer, field, blur in the slice (Gaussian sigma), mean SNR in muscle, mean gain.

    SNR differs by up to 35 % and gain by up to 50 % from scan to scan; fat in the middle of the image is stored as
    `gain`.
    """

    manufacturer: str = ""
    field_tesla: float = 3.0
    kernel_mm: float = 0.35
    snr: float = 18.5
    gain: float = 1000.0

    def check(self, where: str) -> None:
        """Raise `ConfigError` with the key below `where` that is out of range."""
        for key, low, high in (
            ("field_tesla", 0.1, 11.7),
            ("kernel_mm", 0.1, 3.0),
            ("snr", 2.0, 200.0),
            ("gain", 100.0, 1500.0),
        ):
            require_number(f"{where}.{key}", getattr(self, key), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class MrProtocol:
    """Section `phantom.mr`: a T1-weighted gradient echo in coronal slices, centred on one hip.

    `water_fat_shift_pixels` is the largest shift of fat along the readout (head to foot); `rescale_slope` is written
    into the headers and divides the stored values, None: no rescale attributes. Raises `ConfigError` for a wrong key.
    """

    field_of_view_mm: float = 120.0
    matrix: int = 512
    slices: int = 60
    slice_mm: float = 1.5
    tr_ms: float = 37.0
    te_ms: float = 4.92
    flip_degrees: float = 25.0
    water_fat_shift_pixels: float = 2.0
    rescale_slope: float | None = None

    def __post_init__(self) -> None:
        """Check every key, and that a hip fits front to back."""
        require_integer("mr.matrix", self.matrix, low=32, high=1024)
        require_integer("mr.slices", self.slices, low=8, high=400)
        for key, low, high in (
            ("field_of_view_mm", _LEAST_FIELD_MM, 200.0),
            ("slice_mm", 0.5, 10.0),
            ("tr_ms", 1.0, 10000.0),
            ("te_ms", 0.1, 500.0),
            ("flip_degrees", 1.0, 180.0),
            ("water_fat_shift_pixels", 0.0, 20.0),
        ):
            require_number(f"mr.{key}", getattr(self, key), low=low, high=high)
        if self.rescale_slope is not None:
            require_number("mr.rescale_slope", self.rescale_slope, low=0.01, high=100.0)
        if self.slices * self.slice_mm < _LEAST_DEPTH_MM:
            raise ConfigError(
                f"phantom.mr: {self.slices} slices of {self.slice_mm:g} mm cover {self.slices * self.slice_mm:g} mm, "
                f"but a hip needs {_LEAST_DEPTH_MM:g} mm from front to back; set more or thicker slices"
            )


Scanner = CtScanner | MrScanner
SCANNERS = {"CT": CtScanner, "MR": MrScanner}
"""Modality -> the settings that its scanners have."""


def read_scanner(name: str, settings: object, modality: str) -> Scanner:
    """Return the scanner `name` of section `phantom.scanners`.

    Raises:
        ConfigError: The name is not usable in headers, a key is unknown for this modality, or a value out of range.
    """
    where = f"scanners.{name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"phantom.scanners holds the name {name!r}: use at most 16 letters, digits and '-', "
            "beginning with a letter or digit (it becomes the model name in DICOM headers)"
        )
    kind = SCANNERS[modality]
    scanner = kind(**known_settings(where, settings, kind))
    if scanner.manufacturer:
        require_text(f"{where}.manufacturer", scanner.manufacturer, _MAKER)
    scanner.check(where)
    return scanner


def known_settings(where: str, settings: object, kind: type) -> Mapping:
    """Return the settings below `phantom.<where>`; raise `ConfigError` for a key that `kind` does not have."""
    known = [field.name for field in fields(kind)]
    if not isinstance(settings, Mapping):
        raise ConfigError(f"phantom.{where} is {settings!r}: expected settings such as {{{known[-1]}: ...}}")
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"phantom.{where}: there is no setting {key!r} of a {kind.__name__}; allowed are {', '.join(known)}"
            )
    return settings


def require_integer(key: str, value: object, *, low: int, high: int | None = None) -> None:
    """Raise `ConfigError` unless `value` of `phantom.<key>` is a whole number in a range."""
    allowed = f"a whole number of {low} or more" if high is None else f"a whole number from {low} to {high}"
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not fits or (high is not None and value > high):
        raise ConfigError(f"phantom.{key} is {value!r}: expected {allowed}")


def require_number(key: str, value: object, *, low: float, high: float) -> None:
    """Raise `ConfigError` unless `value` of `phantom.<key>` is a number in a range."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"phantom.{key} is {value!r}: expected a number from {low:g} to {high:g}")


def require_phantom(key: str, value: object) -> None:
    """Raise `ConfigError` unless `value` of `phantom.<key>` is the name of a synthetic density phantom, or empty."""
    if value not in ("", *DENSITY_PHANTOMS):
        raise ConfigError(f"phantom.{key} is {value!r}: expected {', '.join(DENSITY_PHANTOMS)}, or nothing")


def require_pixels(key: str, value: object, *, least_mm: float) -> None:
    """Raise `ConfigError` unless `value` of `phantom.<key>` is a range of pixel sizes, from `least_mm` to 1.5 mm."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"phantom.{key} is {value!r}: expected [smallest, largest] in mm")
    for size in value:
        require_number(key, size, low=least_mm, high=1.5)
    if value[0] > value[1]:
        raise ConfigError(f"phantom.{key} is {list(value)}: the smallest size comes first")


def require_text(key: str, value: object, pattern: re.Pattern) -> None:
    """Raise `ConfigError` unless `value` of `phantom.<key>` is a plain text that a DICOM header takes."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ConfigError(f"phantom.{key} is {value!r}: expected a short text of letters, digits and spaces")
