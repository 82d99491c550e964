"""The methods of each anatomy of `lib.catalog.anatomies`, by its name."""

from collections.abc import Mapping

from lib.anatomy.femur.anatomy import ProximalFemur
from lib.anatomy.generic import GenericBones
from lib.anatomy.protocol import AnatomyMethods
from lib.anatomy.spine.lumbar_spine import LumbarSpine

METHODS: Mapping[str, AnatomyMethods] = {
    "proximal-femur": ProximalFemur(),
    "lumbar-spine": LumbarSpine(),
    "generic": GenericBones(),
}
