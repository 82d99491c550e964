"""How the densities of a study are tabulated: reference columns, networks, means, cut-offs, intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.errors import ConfigError
from lib.stats.density_scale import scale_of_columns

# how a density was obtained, in the order of tables
NETWORK, HU_LINEAR, HU_LINEAR_VENDOR, AGE_SEX = "network", "hu_linear", "hu_linear_vendor", "age_sex"
METHODS = (NETWORK, HU_LINEAR, HU_LINEAR_VENDOR, AGE_SEX)
# a mean over fewer structures is no mean
FEWEST_STRUCTURES = 2


@dataclass(frozen=True, kw_only=True)
class DensityPlan:
    """How the densities of a study are tabulated.

    Attributes:
        targets: column of the cohort table with the reference density, by structure.
        segmentation: the network whose masks are measured.
        regressors: the networks that read the density.
        means: structures by the name of their mean.
        osteoporosis_below: densities below it are osteoporosis, in the unit of the targets.
        normal_above: densities above it are normal; those between both, both included, are osteopenia.
        confidence: level of all intervals.
        samples: number of bootstrap samples of people.
        seed: of the bootstrap.
    """

    targets: Mapping[str, str]
    segmentation: str
    regressors: Sequence[str]
    means: Mapping[str, Sequence[str]] = field(default_factory=dict)
    osteoporosis_below: float = 80.0
    normal_above: float = 120.0
    confidence: float = 0.95
    samples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise an error if a value is out of range."""
        if not self.osteoporosis_below < self.normal_above:
            raise ConfigError(
                f"classes: osteoporosis_below ({self.osteoporosis_below:g}) must be less than normal_above "
                f"({self.normal_above:g})"
            )
        for name, structures in self.means.items():
            if unknown := [one for one in structures if one not in self.targets]:
                raise ConfigError(
                    f"classes.means.{name}: {', '.join(unknown)} has no column in regression.targets; known are "
                    f"{', '.join(self.targets) or 'none'}"
                )

    @property
    def scale(self) -> str:
        """Return the scale of the densities, a key of `lib.stats.density_scale.SCALES`."""
        return scale_of_columns(list(self.targets.values()))

    @property
    def structures(self) -> list[str]:
        """Return the structures with a density, in the order of the configuration."""
        return list(self.targets)


def density_plan(
    regression: Mapping, classes: Mapping, networks: Sequence[str], *, confidence: float, seed: int
) -> DensityPlan:
    """Return the plan of a study from the sections `regression` and `classes` of its configuration.

    `networks` are the names of its segmentation networks; the first one makes the masks if `regression.network` is
    empty.
    """
    return DensityPlan(
        targets=regression["targets"],
        segmentation=regression["network"] or networks[0],
        regressors=list(regression["networks"]),
        means=classes["means"],
        osteoporosis_below=classes["osteoporosis_below"],
        normal_above=classes["normal_above"],
        confidence=confidence,
        seed=seed,
    )
