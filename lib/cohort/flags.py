"""Flags of a prediction: reasons to look at it."""

from collections.abc import Iterable, Mapping, Sequence


def warnings_of(screened: Mapping) -> set[str]:
    """Return the codes of the warnings of a screening file."""
    return {reason["code"] for reason in screened["reasons"] if reason["severity"] == "warning"}


def gather_flags(
    otsu: Mapping, crop: Mapping, screened: Mapping, uncertainty: Mapping, review_member_dice: float
) -> list[str]:
    """Return all flags of a prediction.

    Flags of the mask and of crop.json, warnings of the screening file, and `members_disagree` where uncertainty.json
    holds a `member_dice` below `review_member_dice`.
    """
    flags = warnings_of(screened).union(otsu["flags"], crop["flags"])
    member_dice = uncertainty["member_dice"]
    disagree = member_dice is not None and member_dice < review_member_dice
    return sorted(flags.union(["members_disagree"] if disagree else []))


def flag_spacing(
    spacing_mm_zyx: Sequence[float], trained: Iterable[Mapping[str, Sequence[float]]], factor: float
) -> list[str]:
    """Return `spacing_unusual` if the voxels of a scan are unlike those of all scans that its models were trained on.

    Args:
        spacing_mm_zyx: voxel spacing of the scan as networks see it, mm.
        trained: `spacing_mm_zyx` of the models' run.json: `smallest` and `largest` along each axis, mm.
        factor: how many times an edge must be shorter than the smallest one, or longer than the largest one.
    """
    ranges = [(known["smallest"], known["largest"]) for known in trained]
    for axis, edge_mm in enumerate(spacing_mm_zyx):
        low_mm = min((smallest[axis] for smallest, _ in ranges), default=edge_mm)
        high_mm = max((largest[axis] for _, largest in ranges), default=edge_mm)
        if edge_mm * factor < low_mm or edge_mm > high_mm * factor:
            return ["spacing_unusual"]
    return []
