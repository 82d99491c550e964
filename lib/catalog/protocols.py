"""The protocols by which predictions are scored, the sets of people, and the order in which both are shown."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Protocol(NamedTuple):
    """The name and meaning of a protocol.

    Attributes:
        title: title of a card, a row or a column.
        who: the people, and the models that predict them.
        on_figures: short form of `who` for figures.
        is_scored: whether predictions are compared with a reference.
    """

    title: str
    who: str
    on_figures: str
    is_scored: bool = True


# in the order of tables and of cards on the report
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "cv": Protocol(
            "Cross-validation",
            "out-of-fold people, each predicted by the fold model that was not trained on them",
            "cross-validation, out-of-fold people",
        ),
        "test": Protocol(
            "Test",
            "test people, predicted by the ensemble of all folds (mean probability)",
            "test people, ensemble of folds",
        ),
        "test-single": Protocol(
            "Test, single model",
            "test people, predicted by the one fold model with the best validation Dice",
            "test people, single model",
        ),
        "later": Protocol(
            "Later",
            "people with a reference who were added after the draw or kept out of it, not marked in the table as "
            "people of another institution, predicted by the ensemble",
            "later people, ensemble of folds",
        ),
        "external": Protocol(
            "External",
            "people with a reference who are marked in the table as people of another institution, predicted by the "
            "ensemble",
            "people of other institutions, ensemble of folds",
        ),
        "apply": Protocol(
            "Apply",
            "people without a reference, or whom the models were trained on: measured, not scored",
            "people without a reference, or seen in training",
            is_scored=False,
        ),
    }
)
PROTOCOL_ORDER = tuple(PROTOCOLS)
# sets of people -> their names in the report, in its order
SETS: Mapping[str, str] = MappingProxyType(
    {
        "train": "cross-validated",
        "test": "test",
        "later": "later",
        "external": "external",
        "apply": "without a reference",
    }
)
SCORED_PROTOCOLS = tuple(name for name, protocol in PROTOCOLS.items() if protocol.is_scored)
# where one prediction represents a scan, it is of the first of these protocols that predicted it
PRIMARY_PROTOCOLS = ("test", "later", "external", "cv", "apply", "test-single")
# the cards of the report, and the people of its first sentence (`told_protocol`)
CARD_PROTOCOLS = ("test", "external", "later", "cv")
FEWEST_TOLD = 2  # people; one does not stand for a study
# whose cards are folded away
FOLDED_PROTOCOLS = ("test-single",)


def told_protocol(people: Mapping[str, int], order: Sequence[str] = CARD_PROTOCOLS) -> str:
    """Return the protocol that a study's first sentence tells: the first with at least FEWEST_TOLD people.

    If none has that many, it is the one with most people, the first of equal ones.

    Args:
        people: number of people with a score by protocol.
        order: the protocols that may be told; others are not.

    Returns:
        "" if nobody has a score.
    """
    there = [protocol for protocol in order if people.get(protocol)]
    enough = [protocol for protocol in there if people[protocol] >= FEWEST_TOLD]
    return next(iter(enough), max(there, key=people.__getitem__, default=""))
