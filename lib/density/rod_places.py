"""Search for the rods of a phantom in a scan, by the geometry of its certificate."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import is_physical
from lib.certificates import Certificate
from lib.density.rod_line import RodLine, fit_rods
from lib.density.rod_view import RodView

_SEED_CONTRAST_HU, _SEED_SD_HU, _SEED_SPREAD_HU = 40.0, 20.0, 60.0
_SEED_SHARE = 0.2  # of its contrast, by which a disc may vary inside
_LOWEST_ROD_HU = -250.0  # air and foam lie below
_MOST_SEEDS = 40
_TOLERANCE_MM, _REFINED_MM = 2.0, 3.0
_DISCS_SHARE = 0.6  # of the rods in view; one may look like the phantom's body
_REFINED_CONTRAST_HU = 30.0  # discs that stand out less stay where the line puts them
_WORSE = 3.0  # how many times worse the second order of the rods must be
_LEAST_SD = 0.3  # mg/cm3: smaller residuals are noise and not compared
_DISTURBED_SD_HU, _DISTURBED_TIMES = 25.0, 2.5


class NoPhantom(Exception):  # noqa: N818 - an answer, not an error
    """No calibration: `code` is one of `lib.catalog.calibration.REFUSALS`, the text tells what was found."""

    def __init__(self, code: str, found: str) -> None:
        super().__init__(code, found)
        self.code, self.found = code, found


@dataclass(frozen=True, kw_only=True)
class RodPlaces:
    """An assignment of the certificate's rods to places of a view.

    Attributes:
        is_reversed: whether the first rod lies on the patient's left.
        places_mm_yx: centre of each rod, n by 2 (see RodView).
        cut: whether each rod lies partly outside of the field of view.
        uneven: whether the values of each rod are disturbed in the view.
        discs: rods that stand out from what surrounds them, alike on all slices.
        line: the fit of the other rods' values.
    """

    is_reversed: bool
    places_mm_yx: np.ndarray
    cut: np.ndarray
    uneven: np.ndarray
    discs: int
    line: RodLine

    @property
    def is_physical(self) -> bool:
        """Return whether X-rays can give this line."""
        return is_physical(self.line.slope, self.line.intercept_hu)

    def is_credible(self, max_residual_mg_cm3: float) -> bool:
        """Return whether all rods in view are discs, or most of them if they fit the certificate."""
        in_view = (~self.cut).sum()
        if self.line.residual_sd > max_residual_mg_cm3:
            return self.discs == in_view
        return self.discs >= max(2, _DISCS_SHARE * in_view)

    def nearest_mm(self, other: "RodPlaces") -> float:
        """Return the smallest distance between a rod of this and one of the other assignment, in view."""
        ours, theirs = self.places_mm_yx[~self.cut], other.places_mm_yx[~other.cut]
        return float(np.linalg.norm(ours[:, None] - theirs[None], axis=2).min())

    def is_same(self, other: "RodPlaces", within_mm: float) -> bool:
        """Return whether both put every rod at the same place."""
        moved_mm = np.linalg.norm(self.places_mm_yx - other.places_mm_yx, axis=1)
        return self.is_reversed == other.is_reversed and bool(moved_mm.max() < within_mm)


def find_rods(view: RodView, certificate: Certificate, config: CalibrationConfig) -> RodPlaces:
    """Return where the rods of a phantom lie, and in which order.

    Two discs of the rods' size whose distance is that of two rods give a line; the others are looked for by their
    places on it, because dark rods hardly differ from the phantom's body. Each assignment of rods to places is judged
    by the residuals of its line. Assignments that no X-rays can give are left out.

    Raises:
        NoPhantom: no rods, too few of them, no assignment that is physical, two that fit, or two phantoms.
    """
    seeds = find_discs(view, certificate.rod_radius_mm)
    assignments: list[RodPlaces] = []
    most = 0
    for is_reversed, places_mm_yx in _placed(seeds, certificate):
        found = _judge(view, certificate, config, (is_reversed, places_mm_yx))
        most = max(most, found if isinstance(found, int) else 0)
        if isinstance(found, RodPlaces) and found.is_credible(config.max_residual_mg_cm3):
            assignments.append(found)
    if not assignments:
        if most >= 2:
            raise NoPhantom(
                "too_few_rods", f"{most} of {len(certificate.rods)} rods lie in the field of view"
            )
        raise NoPhantom(
            "no_rods", f"{len(seeds)} discs of the rods' size, and no row of them like the certificate's"
        )
    return _chosen(assignments, certificate, config)


def find_discs(view: RodView, radius_mm: float) -> np.ndarray:
    """Return the places (n by 2, mm) of even discs that stand out from what surrounds them, alike on all slices."""
    contrast = np.abs(view.contrast_yx)
    size = tuple(np.maximum(3, 2 * np.ceil(0.6 * radius_mm / view.pixel_mm_yx).astype(int) + 1))
    peaks = (contrast == ndimage.maximum_filter(contrast, size)) & (contrast >= _SEED_CONTRAST_HU)
    peaks &= _even(view)
    indices = np.argwhere(peaks)
    order = np.argsort(view.core_sd_yx[peaks] / contrast[peaks], kind="stable")[:_MOST_SEEDS]
    return np.array([view.place(index) for index in indices[order]]).reshape(-1, 2)


def _even(view: RodView) -> np.ndarray:
    """Return the pixels around which a disc has one value, alike on all slices, and is no air or foam."""
    limit = np.maximum(_SEED_SD_HU, _SEED_SHARE * np.abs(view.contrast_yx))
    return (view.core_sd_yx <= limit) & (view.spread_yx <= _SEED_SPREAD_HU) & (view.hu_yx > _LOWEST_ROD_HU)


def _placed(seeds: np.ndarray, certificate: Certificate) -> Iterator[tuple[bool, np.ndarray]]:
    """Yield whether the rods are reversed, and their places, for each pair of seeds that two rods may be."""
    along_mm = np.concatenate([[0.0], np.cumsum(certificate.rod_distances_mm)])
    for first, second in itertools.permutations(range(len(seeds)), 2):
        step = seeds[second] - seeds[first]
        apart_mm = float(np.linalg.norm(step))
        is_reversed = bool(step[np.argmax(np.abs(step))] < 0)
        if is_reversed and not certificate.may_lie_reversed:
            continue
        for a, b in itertools.combinations(range(len(along_mm)), 2):
            error_mm = apart_mm - (along_mm[b] - along_mm[a])
            if abs(error_mm) <= _TOLERANCE_MM:
                start = seeds[first] + step / apart_mm * (0.5 * error_mm - along_mm[a])
                yield is_reversed, start + along_mm[:, None] * step / apart_mm


def _judge(
    view: RodView, certificate: Certificate, config: CalibrationConfig, placed: tuple[bool, np.ndarray]
) -> RodPlaces | int:
    """Return the rods of one assignment with their line, or the number of rods in view if there are too few."""
    is_reversed, places_mm_yx = placed
    places_mm_yx = np.array([_refined(view, place) for place in places_mm_yx])
    cut = np.array([view.disc(place, certificate.rod_radius_mm) is None for place in places_mm_yx])
    if (~cut).sum() < config.min_rods:
        return int((~cut).sum())
    radius_mm = config.roi_radius_share * certificate.rod_radius_mm
    inside = [
        None if out else view.disc(place, radius_mm) for place, out in zip(places_mm_yx, cut, strict=True)
    ]
    hu = np.array([np.nan if pixels is None else np.median(view.hu_yx[pixels]) for pixels in inside])
    sd = np.array([np.nan if pixels is None else view.hu_yx[pixels].std() for pixels in inside])
    rows, columns = np.transpose([view.index(place) for place in places_mm_yx[~cut]])
    stands_out = np.abs(view.contrast_yx[rows, columns]) >= _REFINED_CONTRAST_HU
    discs = int((stands_out & _even(view)[rows, columns]).sum())
    uneven = np.zeros(len(cut), bool)
    line = _line(hu, ~cut, certificate)
    suspects = ~cut & (sd > np.maximum(_DISTURBED_SD_HU, _DISTURBED_TIMES * np.nanmedian(sd)))
    enough = (~cut & ~suspects).sum() >= max(config.min_rods, 3)
    if line is None or (line.residual_sd > config.max_residual_mg_cm3 and suspects.any() and enough):
        uneven = suspects
        line = _line(hu, ~cut & ~uneven, certificate)
    if line is None:
        return int((~cut).sum())
    found = {"is_reversed": is_reversed, "places_mm_yx": places_mm_yx, "cut": cut, "uneven": uneven}
    return RodPlaces(**found, discs=discs, line=line)


def _line(hu: np.ndarray, used: np.ndarray, certificate: Certificate) -> RodLine | None:
    """Return the line of some rods; None if they have fewer than two densities."""
    rods = [rod for rod, is_used in zip(certificate.rods, used, strict=True) if is_used]
    if len(rods) < 3 or len({rod.density_mg_cm3 for rod in rods}) < 2:
        return None
    return fit_rods(hu[used], rods)


def _refined(view: RodView, place_mm_yx: np.ndarray) -> np.ndarray:
    """Return the place within 3 mm where a disc stands out most; the given one if none does."""
    row, column = view.index(place_mm_yx)
    reach = np.ceil(_REFINED_MM / view.pixel_mm_yx).astype(int)
    rows = slice(max(0, row - reach[0]), max(0, row + reach[0] + 1))
    columns = slice(max(0, column - reach[1]), max(0, column + reach[1] + 1))
    near = np.abs(view.contrast_yx[rows, columns])
    if not near.size:
        return place_mm_yx
    y, x = np.mgrid[rows.start : rows.start + near.shape[0], columns.start : columns.start + near.shape[1]]
    places = view.place(np.stack([y, x], axis=-1))
    near = np.where(np.linalg.norm(places - place_mm_yx, axis=-1) <= _REFINED_MM, near, 0.0)
    if near.max() < _REFINED_CONTRAST_HU:
        return place_mm_yx
    return places[np.unravel_index(near.argmax(), near.shape)]


def _chosen(
    assignments: Sequence[RodPlaces], certificate: Certificate, config: CalibrationConfig
) -> RodPlaces:
    """Return the assignment with the smallest residuals, if no other one comes near."""
    radius_mm, names = certificate.rod_radius_mm, ("certificate's", "reversed")
    ordered = sorted(assignments, key=lambda found: found.line.residual_sd)
    physical = [found for found in ordered if found.is_physical]
    if not physical and ordered[0].line.residual_sd > config.max_residual_mg_cm3:
        raise NoPhantom(
            "large_residuals",
            f"residuals of {ordered[0].line.residual_sd:.0f} mg/cm3 in the best order of the rods",
        )
    if not physical:
        line = next((found.line for found in ordered if found.line.slope > 0), ordered[0].line)
        raise NoPhantom(
            "not_physical",
            f"slope {line.slope:.3f} HU per mg/cm3, intercept {line.intercept_hu:.1f} HU in the best order",
        )
    best = physical[0]
    worst = _WORSE * max(best.line.residual_sd, _LEAST_SD)
    for other in physical[1:]:
        if best.is_same(other, radius_mm):
            continue
        if best.nearest_mm(other) > radius_mm and not best.is_same(other, 2 * radius_mm):
            if other.line.residual_sd <= config.max_residual_mg_cm3:
                apart_mm = best.nearest_mm(other)
                raise NoPhantom(
                    "two_phantoms", f"a second row of rods fits, {apart_mm:.0f} mm from the first one"
                )
        elif other.line.residual_sd < worst:
            told = ", ".join(
                f"{names[found.is_reversed]} order with residuals of {found.line.residual_sd:.1f} mg/cm3"
                for found in (best, other)
            )
            raise NoPhantom("rods_ambiguous", told)
    return best
