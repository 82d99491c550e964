"""The settings of tables, figures and pages. Standard library only (read at each parse)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    """How agreement and scores are summarized.

    Attributes:
        confidence: level of all intervals.
        strata: columns by whose values scores and agreement are also given.
        structures: those whose numbers stand at the head of the report; empty: all.
    """

    confidence: float = 0.95
    strata: Sequence[str] = ("sex",)
    structures: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raise an error if a value is out of range."""
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"report.confidence must be in [0.5, 1), got {self.confidence!r}")


def check_reported(reported: Iterable[str], structures: Iterable[str]) -> None:
    """Check that the report begins with structures of the study.

    Args:
        reported: config `report.structures`.
        structures: names of the study's structures.

    Raises:
        ConfigError: a name is none of them.
    """
    known = list(structures)
    if unknown := [name for name in reported if name not in known]:
        raise ConfigError(
            f"report.structures: {', '.join(unknown)} are no structures of the study; its structures: "
            f"{', '.join(known)}"
        )
