"""The settings of section `predict`. Standard library only (read at each parse)."""

import math
from dataclasses import dataclass

from lib.errors import ConfigError
from lib.learning.allowed_values import is_count, require


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Keys of config `predict`. The last four concern the rules, not the prediction of one scan."""

    step: int = 1
    z_padding: int = 0
    batch_windows: int = 4
    batch_scans: int = 16
    heldout_weights: str = "best"
    review_member_dice: float = 0.9
    spacing_factor: float = 1.25

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for key, least in (("step", 1), ("z_padding", 0), ("batch_windows", 1), ("batch_scans", 1)):
            value = getattr(self, key)
            require(is_count(value, least), f"predict.{key}", value, f"an integer of at least {least}")
        weights = self.heldout_weights
        require(weights in ("best", "last"), "predict.heldout_weights", weights, "best or last")
        dice = self.review_member_dice
        require(0 <= dice <= 1, "predict.review_member_dice", dice, "a Dice from 0 to 1")
        factor = self.spacing_factor
        require(1 <= factor < math.inf, "predict.spacing_factor", factor, "a number of at least 1")

    def require_overlap(self, window_slices: int, whose: str) -> None:
        """Refuse a step that would leave slices between two windows without a prediction.

        Args:
            window_slices: slices of a window.
            whose: what has these windows, such as `train.window_slices`.

        Raises:
            ConfigError: the step is longer than a window.
        """
        if self.step > window_slices:
            raise ConfigError(
                f"predict.step: {self.step} slices would lie between the starts of windows of {window_slices} "
                f"({whose}), so that slices between them are not predicted; set predict.step to {window_slices} or "
                "less"
            )
