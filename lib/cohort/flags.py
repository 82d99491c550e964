"""Flags of a prediction: reasons to look at it."""

from collections.abc import Mapping


def gather_flags(
    otsu: Mapping, crop: Mapping, screened: Mapping, uncertainty: Mapping, review_member_dice: float
) -> list[str]:
    """Return all flags of a prediction.

    Flags of the mask and of crop.json, warnings of the screening file, and `members_disagree` where uncertainty.json
    holds a `member_dice` below `review_member_dice`.
    """
    warnings = {reason["code"] for reason in screened["reasons"] if reason["severity"] == "warning"}
    member_dice = uncertainty["member_dice"]
    disagree = member_dice is not None and member_dice < review_member_dice
    return sorted({*warnings, *otsu["flags"], *crop["flags"], *(["members_disagree"] if disagree else [])})
