"""How the densities of a study are tabulated: reference columns, networks, means, cut-offs, intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.catalog.scales import scale_of_column
from lib.classes_settings import ClassesConfig

# how a density was obtained, in the order of tables
NETWORK, HU_LINEAR, HU_LINEAR_VENDOR, AGE_SEX = "network", "hu_linear", "hu_linear_vendor", "age_sex"
PHANTOM = "phantom"  # the calibration of the scan itself, of studies that have some
METHOD_WORDS: Mapping[str, str] = {
    NETWORK: "network",
    HU_LINEAR: "line on HU",
    HU_LINEAR_VENDOR: "line on HU of each vendor",
    AGE_SEX: "age and sex",
    PHANTOM: "calibration of the scan",
}
METHODS = tuple(METHOD_WORDS)
FEWEST_FOR_BOOTSTRAP = 6  # people; fewer have too few different samples, so their estimates have no interval


@dataclass(frozen=True, kw_only=True)
class DensityPlan:
    """How the densities of a study are tabulated.

    Attributes:
        targets: column of the cohort table with the reference density, by structure, all of one scale.
        segmentation: the network whose masks are measured.
        regressors: the networks that read the density.
        refused: why the networks' densities are given for no scan of the study; empty: they are given.
        classes: means of people and cut-offs of their classes.
        confidence: level of all intervals.
        samples: number of bootstrap samples of people.
        seed: of the bootstrap.
    """

    targets: Mapping[str, str]
    segmentation: str
    regressors: Sequence[str]
    refused: str = ""
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    confidence: float = 0.95
    samples: int = 2000
    seed: int = 0

    @property
    def scale(self) -> str:
        """Return the scale of the densities, a key of `lib.catalog.scales.SCALES`."""
        return scale_of_column(next(iter(self.targets.values())))

    @property
    def structures(self) -> list[str]:
        """Return the structures with a density, in the order of the configuration."""
        return list(self.targets)
