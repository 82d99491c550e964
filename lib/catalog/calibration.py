"""Density calibration as data: its methods, and the reasons and flags of a calibration with their meanings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

PHANTOM, ASYNCHRONOUS, REFERENCED, MICHALSKI, NONE = (
    *("phantom", "asynchronous", "referenced", "michalski2020", "none"),
)
# name of each method of the cohort table's column `calibration` -> what it does
METHODS: Mapping[str, str] = MappingProxyType(
    {
        PHANTOM: "the rods of the phantom that lies in the scan",
        ASYNCHRONOUS: "the line of another scan of the table, `calibration_scan`, with the phantom in it",
        REFERENCED: "the person's own tissues, brought to those of the cohort's scans with a phantom at this kVp; a "
        "scale of its own",
        MICHALSKI: "the person's own tissues and tables of attenuation (Michalski et al. 2020); a scale of its own",
        NONE: "no calibration: the scan has HU only",
    }
)
OK, FLAGGED, REFUSED = "ok", "flagged", "refused"
# slope and intercept that X-rays of 60 to 90 keV can give, HU per mg/cm3 and HU
SLOPE_RANGE, INTERCEPT_RANGE_HU = (1.0, 1.9), (-25.0, 25.0)
SAME_KVP = 1.0  # voltages of tubes that differ by no more are one, kV
MAD_SD = 1.4826  # SD of a normal distribution / its median absolute deviation
# why a density is empty
NO_CALIBRATION = "the scan has no density calibration"
METAL_NEARBY = "metal near the bone changes its HU (flag metal)"


def refused_in_words(reason: str) -> str:
    """Return why a scan whose calibration was refused has no density."""
    return f"the calibration of the scan was refused ({reason})"


class CalibrationFinding(NamedTuple):
    """A reason to refuse a calibration, or a flag of one that is used.

    Attributes:
        meaning: when it is raised, in words.
        action: what to do.
    """

    meaning: str
    action: str


# why a scan gets no calibration
REFUSALS: Mapping[str, CalibrationFinding] = MappingProxyType(
    {
        "no_rods": CalibrationFinding(
            "No row of round rods with the certificate's radius and distances was found.",
            "Look whether the phantom lies in the scan, wholly in the field of view of the reconstruction. If it "
            "does, check `rod_radius_mm`, `rod_distance_mm` and the order of the rods in the certificate.",
        ),
        "certificate_too_short": CalibrationFinding(
            "The certificate lists fewer than `calibration.min_rods` rods, and a line fits any two.",
            "Look for further rods on the certificate. A phantom of two rods cannot show that it was found rightly: "
            "calibrate its scans by another method.",
        ),
        "too_few_rods": CalibrationFinding(
            "Fewer than `calibration.min_rods` rods lie wholly in the field of view, undisturbed and with HU that "
            "are not clipped.",
            "Reconstruct the scan with a larger field of view and its whole range of HU, or calibrate it by another "
            "scan (`asynchronous`).",
        ),
        "rods_ambiguous": CalibrationFinding(
            "The rods fit their certificate in two orders, the second less than three times worse.",
            "Set `may_lie_reversed: false` if the phantom always lies the same way, and reconstruct with all rods "
            "in view.",
        ),
        "two_phantoms": CalibrationFinding(
            "Two rows of rods fit the certificate.",
            "Leave one phantom out of the scan or of the reconstruction.",
        ),
        "not_physical": CalibrationFinding(
            "In the order that fits best, slope or intercept lie outside of what X-rays of 60 to 90 keV can give "
            "(slope 1.0 to 1.9 HU per mg/cm3, intercept -25 to 25 HU).",
            "Check scale, densities and the water column of the certificate, and that it belongs to this phantom.",
        ),
        "large_residuals": CalibrationFinding(
            "A rod differs from the line by more than `calibration.max_residual_mg_cm3`.",
            "Check that the certificate has the serial number of this phantom and lists its rods in the order in "
            "which they lie. Look for metal beside the rods, and whether the HU of the scan were clipped.",
        ),
        "no_calibration_scan": CalibrationFinding(
            "The scan named by `calibration_scan` has no calibration of its own.",
            "See the reason of that scan in tables/calibration.csv, or name another one.",
        ),
        "other_kvp": CalibrationFinding(
            "The scan named by `calibration_scan` was made with another tube voltage, with which the slope "
            "differs by up to 20 %.",
            "Name a scan of the phantom with the same voltage.",
        ),
        "other_scanner": CalibrationFinding(
            "The scan named by `calibration_scan` was made with another scanner: the words in the column `scanner` "
            "differ, or, where they are not both given, the models in the headers.",
            "Name a scan of the phantom on the same scanner. If it is one scanner, give both rows one word in "
            "`scanner`.",
        ),
        "scan_order_gap": CalibrationFinding(
            "The `scan_order` of the scan and of its `calibration_scan` differ by more than "
            "`calibration.max_scan_order_gap`.",
            "Name a scan of the phantom that was made nearer to this scan, or allow a larger difference.",
        ),
        "scan_order_unknown": CalibrationFinding(
            "`calibration.max_scan_order_gap` is set, and the scan or its `calibration_scan` has no `scan_order`.",
            "Give both a `scan_order` in the cohort table, or set the limit to null.",
        ),
        "too_few_references": CalibrationFinding(
            "Fewer than ten scans of this cohort with the same tube voltage are calibrated by a phantom and have the "
            "tissues. Several rows of one image count once.",
            "Use another method, or add scans with a phantom.",
        ),
        "no_tissues": CalibrationFinding(
            "A tissue was not found: less than 0.5 cm³ of it, or HU outside of its range.",
            "Calibrate the scan by another method, or leave its calibration out (`none`).",
        ),
    }
)
# what is told of a calibration that is used
CALIBRATION_FLAGS: Mapping[str, CalibrationFinding] = MappingProxyType(
    {
        "rods_left_out": CalibrationFinding(
            "A rod was left out: it lies partly outside of the field of view, is disturbed in most slices, or its HU "
            "were clipped.",
            "Look at its line in tables/calibration_rods.csv. The calibration rests on the other rods.",
        ),
        "drifts_along_z": CalibrationFinding(
            "From the first slice to the last one the calibration changes by more than "
            "`calibration.max_drift_z_mg_cm3`, at 0 or at 200 mg/cm3.",
            "Do not compare levels of the scan with each other. Look for metal, and at the ends of the phantom.",
        ),
        "hu_clipped": CalibrationFinding(
            "Voxels of a rod have the lowest or highest HU that the scan has or can store. A rod with more than a "
            "tenth of them is left out.",
            "Export the scan with its whole range of values.",
        ),
        "air_clipped": CalibrationFinding(
            "More than a fifth of the voxels of the air around the person have the lowest HU that a scan can store "
            "(-1024). Air then reads too high, and the slope is off by up to 3 %.",
            "Calibrate the scan by a phantom, or export it with values below -1024 HU.",
        ),
        "kvp_unknown": CalibrationFinding(
            "The tube voltage of this scan or of its `calibration_scan` is not stated.",
            "Check that both were made with the same voltage.",
        ),
        "table_height_differs": CalibrationFinding(
            "The table stood more than 50 mm higher or lower than in the `calibration_scan`.",
            "Scan the phantom at the table height of the people.",
        ),
        "kernel_differs": CalibrationFinding(
            "The scan and its `calibration_scan` were reconstructed with different kernels.",
            "Reconstruct the scan of the phantom with the kernel of the people.",
        ),
        "calibration_drift": CalibrationFinding(
            "The calibration lies outside of the control limits of its scanner (median, 3 x 1.4826 x MAD; of eight "
            "scans or more).",
            "Ask what changed at the scanner, and whether the phantom was another one.",
        ),
    }
)


def is_same_kvp(kvp: float | None, other: float | None) -> bool:
    """Return whether two tube voltages (kV) are stated and the same."""
    return None not in (kvp, other) and abs(kvp - other) <= SAME_KVP


def is_physical(slope: float, intercept_hu: float) -> bool:
    """Return whether X-rays can give a slope (HU per mg/cm3) with an intercept (HU)."""
    return (
        SLOPE_RANGE[0] <= slope <= SLOPE_RANGE[1]
        and INTERCEPT_RANGE_HU[0] <= intercept_hu <= INTERCEPT_RANGE_HU[1]
    )


def findings_table(findings: Mapping[str, CalibrationFinding]) -> str:
    """Return REFUSALS or CALIBRATION_FLAGS as a Markdown table of docs/calibration.md."""
    lines = ["| code | when | what to do |", "| --- | --- | --- |"]
    return "\n".join(
        [*lines, *(f"| `{code}` | {told.meaning} | {told.action} |" for code, told in findings.items())]
    )
