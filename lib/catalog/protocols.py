"""The protocols by which predictions are scored, the sets of people, and the order in which both are shown."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Protocol(NamedTuple):
    """The name and meaning of a protocol.

    Attributes:
        title: of a card, a row or a column.
        who: the people, and by which models they are predicted.
        on_figures: the same in a few words.
        is_scored: predictions are compared with a reference.
    """

    title: str
    who: str
    on_figures: str
    is_scored: bool = True


# in the order of tables and cards
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "cv": Protocol(
            "Cross-validation",
            "out-of-fold people, each predicted by the one fold model that never saw them",
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
            "people with a reference who were added after the draw or kept out of it, and of whom the table does not "
            "say that they are of another institution, predicted by the ensemble",
            "later people, ensemble of folds",
        ),
        "external": Protocol(
            "External",
            "people with a reference whom the table places in another institution, predicted by the ensemble",
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
# people by the set that they belong to: what the report calls them, in its order
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
# a scan is shown by the first of these protocols that predicted it
PRIMARY_PROTOCOLS = ("test", "later", "external", "cv", "apply", "test-single")
