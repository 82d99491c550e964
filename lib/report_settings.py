"""The settings of tables, figures and pages. Standard library only (read at each parse)."""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    """How agreement and scores are summarized.

    Attributes:
        confidence: level of all intervals.
        strata: columns by whose values scores and agreement are also given.
    """

    confidence: float = 0.95
    strata: Sequence[str] = ("sex",)

    def __post_init__(self) -> None:
        """Raise an error if a value is out of range."""
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"report.confidence must be in [0.5, 1), got {self.confidence!r}")
