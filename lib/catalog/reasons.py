"""All reasons for refusing or flagging a scan, each with its rule and advice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.modalities import MODALITIES

REJECTED = "rejected"
WARNING = "warning"


@dataclass(frozen=True)
class Meaning:
    """The meaning of a reason code: its severity, the broken rule and what to do.

    In rule and action `{part}`, `{bone}`, `{elsewhere}`, `{modality}` and `{slices}` stand for words of the study
    (`words_of`).
    """

    severity: str
    rule: str
    action: str


def _rejected(rule: str, action: str) -> Meaning:
    return Meaning(REJECTED, rule, action)


def _warning(rule: str, action: str) -> Meaning:
    return Meaning(WARNING, rule, action)


_EXPORT = "Export the series again from the archive as original {slices}."
_WHOLE = "Export the series again and check that all its files have arrived."

REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        # files
        "unreadable_file": _rejected("Every file of the scan must be readable.", _WHOLE),
        "undecodable_pixels": _rejected("The pixels of every slice must decode completely.", _WHOLE),
        "no_dicom_found": _rejected(
            "A folder or zip archive must hold DICOM files.",
            "Check the `image` column of the cohort table; a NIfTI, NRRD or MetaImage file is named directly.",
        ),
        "too_large": _rejected(
            "The voxels of a scan, and each of its files, must be smaller than screening.max_gb.",
            "Check that this is the right file; if it is, raise screening.max_gb (and the memory of the job).",
        ),
        "reading_stopped": _rejected(
            "Reading must end within screening.max_minutes and the job's memory, and no decoder may crash.",
            "Check that the files are intact; if they are, raise screening.max_minutes or max_gb.",
        ),
        "foreign_files": _warning(
            "Files that are not DICOM are left out.", "Nothing, if the number found is what you expect."
        ),
        "unsupported_frames": _rejected(
            "A multi-frame file must state position, orientation and pixel size of each frame.",
            "Export the series as single-frame {modality} images.",
        ),
        # which series
        "no_slices": _rejected(
            "The source must hold slices of a scan, not only captures, reports or structures.", _EXPORT
        ),
        "dicomdir": _rejected(
            "The source must hold slices of a scan, not only their table of contents.",
            "Name the folder that holds the DICOMDIR, together with the image files that it lists.",
        ),
        "localizer_only": _rejected(
            "The source must hold slices of a scan, not only localizers (scout views).", _EXPORT
        ),
        "localizer_ignored": _warning(
            "Localizers (scout views) are left out.", "Nothing, if the number found is what you expect."
        ),
        "secondary_capture": _warning(
            "Secondary captures (screenshots) are left out: they are not slices and often show a person's name.",
            "Nothing for the workflow; keep the source where identified data belong.",
        ),
        "burned_in_annotation": _warning(
            "No text may be burned into the pixels (BurnedInAnnotation): it would appear in every picture of the "
            "scan.",
            "Look at the crop; if it shows a name, exclude the scan and share no file of it.",
        ),
        "other_objects_ignored": _warning(
            "Reports, structures, projections and other DICOM objects that are not slices are left out.",
            "Nothing, if the number found is what you expect.",
        ),
        "several_series": _rejected(
            "Exactly one series of the source must have the right modality and enough slices.",
            "Give the SeriesInstanceUID of the wanted series in the column `series_uid` of the cohort table.",
        ),
        "series_ignored": _warning(
            "Series that cannot be the scan (modality, too few slices) are left out.",
            "Nothing, if the slices read are what you expect; else give `series_uid`.",
        ),
        "series_not_found": _rejected(
            "The series named by `series_uid` must be in the source.",
            "Correct `series_uid`, or leave it empty if the source holds one series.",
        ),
        "not_magnitude": _rejected(
            "An MR series must show the magnitude of the signal: no phase, real or imaginary images, and no maps or "
            "subtractions.",
            "Give the `series_uid` of the magnitude images, or export them.",
        ),
        "wrong_modality": _rejected(
            "The modality must be the one that the study works on (screening.modality).",
            "Correct the `image` column, or exclude the scan.",
        ),
        # geometry
        "too_few_slices": _rejected(
            "A scan needs at least screening.min_slices slices.",
            "Export the whole series, or exclude the scan.",
        ),
        "too_short": _rejected(
            "The scan must cover at least screening.min_length_mm from feet to head.",
            "Use a longer scan, or exclude this one.",
        ),
        "implausible_spacing": _rejected(
            "The edges of a voxel must be from 0.05 to 20 mm.",
            "Check pixel size, slice distance and units of the source.",
        ),
        "coarse_slices": _warning(
            "No edge of a voxel should be longer than 5 mm: bone between slices is guessed.",
            "Use a reconstruction with thinner slices if there is one.",
        ),
        "incomplete_header": _rejected(
            "Every slice must state size, pixel size, position and orientation as numbers.", _EXPORT
        ),
        "missing_slices": _rejected(
            "All slice distances must be equal (screening.spacing_tolerance_mm, _fraction). "
            "Slices are counted from the feet.",
            f"{_WHOLE} A gap up to 10 mm can be interpolated (dicom.resample_uneven: true).",
        ),
        "uneven_slices": _rejected(
            "All slice distances must be equal, and small differences must not add up "
            "(screening.spacing_tolerance_mm, _fraction). Slices are counted from the feet.",
            "Use a reconstruction with equal slice distances, or have the slices interpolated "
            "(dicom.resample_uneven: true).",
        ),
        "slices_interpolated": _warning(
            "Unevenly spaced slices (gaps up to 10 mm) are interpolated onto an even grid "
            "(dicom.resample_uneven: true).",
            "Look at the scan; bone inside a gap is guessed.",
        ),
        "shifted_slices": _rejected(
            "All slices must lie on one straight line, without sideways steps between them.", _EXPORT
        ),
        "several_volumes": _rejected(
            "A series must hold one volume, not several at the same positions (echoes, phases, times, repetitions).",
            "Export one of them as a series of its own, for example the first echo.",
        ),
        "duplicate_positions": _rejected(
            "Each position must be covered by one slice only.",
            "Remove the copies, or split repeated passes and phases into one folder each.",
        ),
        "gantry_tilt": _rejected(
            "The table must move along the slice normal (screening.max_tilt_degrees).",
            "Use a scan or reconstruction without gantry tilt; or have it corrected (dicom.correct_tilt: true).",
        ),
        "tilt_corrected": _warning(
            "Slices of a tilted gantry are shifted in their planes to correct the tilt "
            "(dicom.correct_tilt: true).",
            "Nothing, but a reference mask must have been drawn on the corrected volume (results/converted).",
        ),
        "mixed_orientation": _rejected("All slices must be parallel.", _EXPORT),
        "mixed_size": _rejected(
            "All slices must have the same rows, columns and pixel size.",
            "Split the series by reconstruction, one folder each.",
        ),
        "oblique_orientation": _warning(
            "The axes of the volume should be within 10 degrees of the patient's: window, lengths and the distal "
            "end follow the volume's own axes.",
            "Nothing, if the crop shows the whole {bone}.",
        ),
        "not_a_volume": _rejected(
            "The file must hold one three-dimensional volume with one value per voxel.",
            "Save the one volume that is wanted.",
        ),
        "no_orientation": _rejected(
            "An image file must state its orientation and position in the patient in mm (NIfTI: qform or sform; "
            "NRRD: space and space directions; MetaImage: TransformMatrix and ElementSpacing): without it left and "
            "right are unknown.",
            "Convert it again from DICOM with a tool that writes the orientation.",
        ),
        "contradictory_orientation": _rejected(
            "All statements of an image file on its orientation (qform, sform, pixdim; AnatomicalOrientation) must "
            "agree, and its axes must be perpendicular.",
            "Convert it again from DICOM, or set the code of the wrong one to 0.",
        ),
        # intensities
        "no_rescale": _rejected(
            "CT slices must state how stored values become HU (RescaleSlope, RescaleIntercept, RescaleType).",
            _EXPORT,
        ),
        "infinite_values": _rejected(
            "Every voxel must have a finite value.",
            "Make the image again: a division by 0 gives infinite values.",
        ),
        "implausible_hu": _rejected(
            "The intensities must be HU: air about -1000, soft tissue about 0, bone above 200.",
            "Export in HU, without windowing, scaling or smoothing away of the bone.",
        ),
        "clipped_hu": _warning(
            "Intensities should not be cut off at either end: air reaches -1000 HU, cortical bone 2000.",
            "Export the series again in its full range; if that is lost, do not mix such scans with others.",
        ),
        "missing_values": _warning(
            "Every voxel should have a value: NaN counts as air outside the scan.",
            "Check that only the background of the picture is empty.",
        ),
        "padding_in_tissue_range": _warning(
            "Pixels outside the scan circle should be marked by a value that no tissue has.",
            "Check that the background of the picture is far from the {part}: it is kept as it is stored.",
        ),
        "flat_image": _rejected(
            "The body must have contrast: the percentiles of its values that become 0 and 1 must differ.",
            "Look at the image; exclude the scan if it shows nothing.",
        ),
        "blank_slices": _warning(
            "Every slice should show something.", "Check the series: slices may have lost their content."
        ),
        # the anatomy
        "metal": _warning(
            "Metal near the requested {part} (screening.metal_hu, max_metal_mm3) makes its volume unreliable.",
            "Look at the scan; exclude it if the implant lies in the bone that is measured.",
        ),
        "not_in_view": _rejected(
            "The requested {part} must be in the scan.",
            "Check `side`, or give the centre of the crop (crop_x_mm, crop_y_mm).",
        ),
        "calibration_only": _rejected(
            "The scan is the `calibration_scan` of others and shows no {part}.",
            "Nothing: it is calibrated and not predicted.",
        ),
        "crop_uncertain": _warning(
            "The {part} should be found without doubt.",
            "Look at results/crops/; if the window is wrong, read its centre from the scales and give crop_x_mm and "
            "crop_y_mm.",
        ),
        "crop_center_outside": _rejected(
            "The given centre of the crop must lie in the scan.",
            "Correct crop_x_mm and crop_y_mm (mm, LPS, as a viewer of the converted scan shows them).",
        ),
        "crop_center_elsewhere": _rejected(
            "The given centre of the crop must lie at the requested {part}, not {elsewhere}.",
            "Read the centre from the scales of results/crops/: x grows to the patient's left, y to the back (LPS). "
            "3D Slicer shows both with the other sign (RAS).",
        ),
        # the reference mask
        "mask_unreadable": _rejected("The mask must be a readable label map.", "Correct the `mask` column."),
        "mask_not_labels": _rejected(
            "The mask must hold whole numbers (labels).", "Save a label map, not a probability or a picture."
        ),
        "mask_off_grid": _rejected(
            "The mask must lie on the grid of the scan, voxel by voxel. Its axes may have another order, and empty "
            "borders may be cut away.",
            "Save the mask on the grid of this scan (a label map with the scan as reference volume).",
        ),
        "mask_empty": _rejected(
            "The mask must hold at least one voxel of the study's structures.",
            "Correct `mask`, `mask_label` or the values in `structures`.",
        ),
        "structure_missing": _warning(
            "The mask should hold every structure of the study; where one is missing, networks learn that it is "
            "background.",
            "Nothing, if the scan does not show it. Else draw it, correct its values in `structures`, or exclude the "
            "scan.",
        ),
        "mask_elsewhere": _rejected(
            "The mask must lie on the requested {part}, in the slices that the crop keeps.",
            "Correct `side`, `mask_label` or the centre of the crop.",
        ),
        "mask_implausible": _rejected(
            "The mask must have a volume, a length and slices that a {bone} can have.",
            "Check that `mask` and `mask_label` name one {bone}, and that the background is 0.",
        ),
        "labels_out_of_order": _rejected(
            "Vertebrae must be labelled from head to feet: L1 above L2, and so on down to the sacrum, each with a "
            "label of its own.",
            "Look at the labels in a viewer. If all files are numbered this way, correct the values in `structures`: "
            "TotalSegmentator has 31 for L1 to 27 for L5, VerSe 20 to 24, and some programs count from below. If "
            "only this file is, label it again.",
        ),
        "label_doubled": _rejected(
            "Each label must mark one vertebra.",
            "Look at the labels in a viewer, and give the second vertebra its own label.",
        ),
        "mask_gaps": _rejected(
            "Every slice between the ends of the mask must be drawn.",
            "Draw or interpolate the slices that are empty.",
        ),
        "mask_in_pieces": _rejected(
            "The mask must be one body.",
            "Remove what is not the {bone}; correct `mask_label` if it names more than one bone.",
        ),
        "mask_hollow": _rejected(
            "The mask must be solid: cortex, trabecular bone and marrow.",
            "Fill the mask slice by slice; a threshold alone finds the cortex only.",
        ),
        "mask_off_bone": _rejected(
            "The edge of the mask must follow the edge of bone.",
            "Lay the mask over the scan in a viewer. If it is upside down, back to front or of another scan, save it "
            "again from the program that drew it.",
        ),
        "mask_not_solid": _warning(
            "The mask should be one body without holes or empty slices.",
            "Look at the scan's page; correct the mask if it is not as intended.",
        ),
        "mask_cut_by_crop": _warning(
            "The mask should lie inside the window that is cut out.",
            "Look at the crop; correct `mask_label` if it names more than the one {bone}, or give the centre.",
        ),
    }
)


@dataclass(frozen=True)
class Reason:
    """A finding: its code of REASONS and, in words and numbers, what was found, without identifying data.

    `action` is the advice for this cause; empty: the advice of the code.
    """

    code: str
    found: str
    action: str = ""

    def __post_init__(self) -> None:
        if self.code not in REASONS:
            raise ValueError(f"{self.code!r} is not one of the documented reason codes")

    @property
    def severity(self) -> str:
        """`rejected` or `warning`."""
        return REASONS[self.code].severity

    def to_json(self, anatomy: str, modality: str) -> dict[str, str]:
        """Return the finding with its rule and advice in the words of the study, for the screening file."""
        meaning, words = REASONS[self.code], words_of(anatomy, modality)
        return {
            "code": self.code,
            "severity": meaning.severity,
            "found": self.found,
            "rule": meaning.rule.format_map(words),
            "action": self.action or meaning.action.format_map(words),
        }


def is_rejected(reasons: Iterable[Reason]) -> bool:
    """Return whether any of `reasons` refuses the scan."""
    return any(reason.severity == REJECTED for reason in reasons)


def refusal_notice(scan: str, reasons: Iterable[Mapping[str, str]]) -> str:
    """Return in one line why a scan is refused and what to do; "" if it is not refused.

    Args:
        scan: its pseudonym.
        reasons: those of its screening, as `Reason.to_json` makes them.
    """
    refusing = [reason for reason in reasons if reason["severity"] == REJECTED]
    told = "; ".join(f"{reason['code']} ({reason['found']}). {reason['action']}" for reason in refusing[:1])
    more = ", ".join(reason["code"] for reason in refusing[1:])
    return f"Refused: {scan}, {told}{f' Also: {more}.' if more else ''}" if refusing else ""


def words_of(anatomy: str, modality: str) -> dict[str, str]:
    """Return the words that rules and advice have in a study, by their names in the texts."""
    looked_at, made_by = ANATOMIES[anatomy], MODALITIES[modality]
    return {
        "part": looked_at.part,
        "bone": looked_at.bone,
        "elsewhere": "at the other one or far from bone" if looked_at.has_sides else "far from bone",
        "modality": modality,
        "slices": made_by.slices,
    }


def reasons_table() -> str:
    """Return REASONS as the Markdown table of docs/screening.md, in the words of a CT of the proximal femur."""
    words = words_of("proximal-femur", "CT")
    lines = ["| reason | severity | rule | what to do |", "| --- | --- | --- | --- |"]
    for code, meaning in REASONS.items():
        rule, action = meaning.rule.format_map(words), meaning.action.format_map(words)
        lines.append(f"| `{code}` | {meaning.severity} | {rule} | {action} |")
    return "\n".join(lines)
