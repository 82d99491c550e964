"""The articles that a study can follow, and which one it follows."""

from collections.abc import Mapping

from lib.errors import ConfigError
from lib.publications.article import Publication
from lib.publications.deniz_2018 import DENIZ_2018
from lib.publications.fang_2021 import FANG_2021
from lib.publications.zhao_2020 import ZHAO_2020

AUTO, NONE = "auto", "none"
PUBLICATIONS = {publication.name: publication for publication in (ZHAO_2020, DENIZ_2018, FANG_2021)}


def followed_publication(settings: Mapping) -> Publication | None:
    """Return the article that a study follows; None: it follows none.

    With the setting `auto` it is the article on the study's anatomy and modality, if there is one.

    Args:
        settings: the configuration; its keys `publication`, `anatomy` and `screening` are read.

    Raises:
        ConfigError: the study names an article on another anatomy or modality.
    """
    named = settings["publication"]
    if named == NONE:
        return None
    kind = settings["anatomy"], settings["screening"]["modality"]
    if named == AUTO:
        fitting = (one for one in PUBLICATIONS.values() if (one.anatomy, one.modality) == kind)
        return next(fitting, None)
    publication = PUBLICATIONS[named]
    if (publication.anatomy, publication.modality) != kind:
        raise ConfigError(
            f"publication: {named} is about {publication.anatomy} in {publication.modality}, this study about "
            f"{kind[0]} in {kind[1]}; set publication: {AUTO} or {NONE}"
        )
    return publication
