"""What is known of an article: whom it is about, what it printed, what of its protocol is stated or left open."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lib.publications.work import Work

TAGS = {
    "stated": "the article states it",
    "deduced": "the article does not state it; it follows from numbers or words that the article gives",
    "chosen": "the article leaves it open; Osteoflow chose it",
    "deviates": "the article states otherwise; Osteoflow departs from it on purpose",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A choice of the protocol.

    Attributes:
        step: step of the workflow to which it belongs.
        here: what Osteoflow does with the settings of config.yaml.
        tag: a key of TAGS.
        why: what the article says, how it was deduced, or why it was chosen.
        settings: the settings of this choice by their dotted names, with the values of config.yaml.
        departs: for a departure that no setting can undo, a clause for the report's list of departures.
        departs_in_test: likewise, for studies with test people.
    """

    step: str
    here: str
    tag: str
    why: str
    settings: Mapping[str, object] = field(default_factory=dict)
    departs: str = ""
    departs_in_test: str = ""


@dataclass(frozen=True, kw_only=True)
class PrintedScore:
    """A score that an article printed.

    Attributes:
        version: which version of the article, with its year.
        data: the people or scans, as printed.
        protocol: how the predictions were made, as printed; empty: not printed.
        networks: whose score it is, as printed.
        measure: the measure here (a key of `lib.catalog.measures.MEASURES`).
        printed_as: its name in the article.
        mean: the number.
        spread: the number after ±; None: not printed.
        source: where it was read.
        remark: what a reader must know of it; empty: nothing.
        printed: the number as printed if it is not a plain one, such as `> 0.98`, or has more than two decimal
            places; empty: `mean`.
    """

    version: str
    data: str
    protocol: str
    networks: str
    measure: str
    printed_as: str
    mean: float
    spread: float | None
    source: str
    remark: str = ""
    printed: str = ""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """An article that a study can follow.

    Attributes:
        name: value of the setting `publication`.
        short: authors and year, for captions.
        sentence: authors and year, for sentences.
        reference: the entry of the list of references.
        anatomy, modality: of the studies that it is about (`lib.catalog.anatomies`, `lib.catalog.modalities`).
        figures: kinds of figures that are drawn after one of the article's, with its number.
        tables: whether the study gets the article's tables (tables/table1.csv, table2.csv).
        definitions: what the article says of a number of the report, by its name, to follow the definition.
        choices: its protocol; empty: nothing is said of it.
        left_open: examples of what it leaves open.
        scores: numbers that it printed and that are not part of its tables.
        about: what its numbers are about: `networks` or `density`; they stand in that section of the report.
    """

    name: str
    short: str
    sentence: str
    reference: Work
    anatomy: str
    modality: str
    figures: Mapping[str, int] = field(default_factory=dict)
    tables: bool = False
    definitions: Mapping[str, str] = field(default_factory=dict)
    choices: Sequence[Choice] = ()
    left_open: str = ""
    scores: Sequence[PrintedScore] = ()
    about: str = "networks"

    def after_figure(self, kind: str) -> str:
        """Return the sentence on the article's figure for the end of a caption; empty if there is no such figure."""
        return f" After {self.short}, Figure {self.figures[kind]}." if kind in self.figures else ""


def score_rows(publication: Publication) -> list[dict]:
    """Return the printed scores as rows of a table, in the order of the article.

    A row has `publication` (authors and year) and the attributes of `PrintedScore`. They may stand beside rows of
    real people only, not of a synthetic cohort.
    """
    return [{"publication": publication.short} | asdict(score) for score in publication.scores]
