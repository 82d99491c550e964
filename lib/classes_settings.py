"""The settings of the classes of a person's mean bone density. Standard library only (read at each parse).

The usual cut-offs of 80 and 120 mg/cm3 hold for QCT with a K2HPO4 phantom and the mean of at least two lumbar
vertebrae (Chinese guideline on the diagnosis of osteoporosis by QCT, 2018: PMC7495321, table 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.catalog.scales import SCALES, UNIT
from lib.errors import ConfigError

FEWEST_OF_MEAN = 2  # structures
_CUT_OFFS = ("osteoporosis_below", "normal_above")


@dataclass(frozen=True, kw_only=True)
class ClassesConfig:
    """Keys of config `classes`.

    Attributes:
        osteoporosis_below: a lower mean is osteoporosis, mg/cm3.
        normal_above: a higher mean is normal, mg/cm3; what lies between, both ends included, is osteopenia.
        scale: scale of the cut-offs, k2hpo4 or caha.
        means: name -> structures over which a person's mean is taken; empty: no classes.
    """

    osteoporosis_below: float = 80.0
    normal_above: float = 120.0
    scale: str = "k2hpo4"
    means: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used; make tuples of structures."""
        if self.scale not in SCALES:
            raise ConfigError(f"classes.scale must be one of {', '.join(SCALES)}; got {self.scale!r}")
        if not 0 < self.osteoporosis_below < self.normal_above:
            raise ConfigError(
                "classes: osteoporosis_below must be above 0 and below normal_above; got "
                f"{self.osteoporosis_below:g} and {self.normal_above:g} {UNIT}"
            )
        means = {name: tuple(structures) for name, structures in self.means.items()}
        for name, structures in means.items():
            if len(set(structures)) < FEWEST_OF_MEAN or len(set(structures)) < len(structures):
                raise ConfigError(
                    f"classes.means.{name}: name at least {FEWEST_OF_MEAN} structures, each once; got "
                    f"{', '.join(structures) or 'none'}"
                )
        object.__setattr__(self, "means", means)


def check_classes(config: ClassesConfig, targets: Mapping[str, str], scale: str) -> None:
    """Check that classes rest on reference densities of the study, in the scale of the cut-offs.

    Args:
        config: the settings.
        targets: structure -> column of its reference density (`regression.targets`).
        scale: that of the columns.

    Raises:
        ConfigError: a mean names a structure without a target, or the densities are of another scale.
    """
    for name, structures in config.means.items():
        if unknown := [structure for structure in structures if structure not in targets]:
            raise ConfigError(
                f"classes.means.{name}: {', '.join(unknown)} have no density; structures with a column in "
                f"regression.targets: {', '.join(targets) or 'none'}"
            )
    if config.means and scale != config.scale:
        wanted, given = SCALES[scale], SCALES[config.scale]
        raise ConfigError(
            f"classes: cut-offs of {config.osteoporosis_below:g} and {config.normal_above:g} {UNIT} hold for {given}"
            f", and the columns of regression.targets hold {wanted} densities; give cut-offs of the {wanted} scale "
            f"(classes.scale: {scale} with both cut-offs) or remove classes.means"
        )


def check_cut_offs(given: Mapping[str, object]) -> None:
    """Refuse another scale without its own cut-offs: the usual ones hold for K2HPO4, and no factor converts them.

    Args:
        given: the keys of `classes` that the study gives, without defaults.

    Raises:
        ConfigError: `scale` is not k2hpo4, and a cut-off is missing.
    """
    scale = given.get("scale", ClassesConfig.scale)
    missing = [name for name in _CUT_OFFS if given.get(name) is None]
    if scale in SCALES and scale != ClassesConfig.scale and missing:
        raise ConfigError(
            f"classes.scale: {scale} needs its own cut-offs, because those of config.yaml hold for "
            f"{SCALES[ClassesConfig.scale]}; give {' and '.join(f'classes.{name}' for name in missing)}"
        )
