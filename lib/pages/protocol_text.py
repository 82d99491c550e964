"""The sentences and the table on an article's protocol: what it states or leaves open, where a study differs."""

from collections.abc import Iterable, Mapping

from lib.pages.wording import FEW_NETWORKS
from lib.publications.article import Choice, Publication
from lib.stats.formats import show_setting

OF_TRAINING = ("People", "Training", "Augmentation")  # steps that apply only if models are trained
NETWORK = "networks.vnet."  # networks of any name are compared with these settings


def choices_table(publication: Publication) -> str:
    """Return all choices of an article's protocol as a Markdown table, such as that of docs/zhao-2020.md."""
    lines = ["| step | what Osteoflow does | | the article | settings |", "| --- | --- | --- | --- | --- |"]
    for choice in publication.choices:
        settings = ", ".join(f"`{name}`" for name in choice.settings)
        lines.append(f"| {choice.step} | {choice.here} | [{choice.tag}] | {choice.why} | {settings} |")
    return "\n".join(lines)


def paper_text(
    publication: Publication,
    settings: Mapping,
    runs: Iterable[Mapping],
    mark: str,
    sets: Mapping[str, int],
) -> str:
    """Return the sentences of the methods paragraph on the article: what differs, and what the article leaves open.

    Args:
        publication: the article.
        settings: the configuration.
        runs: the records of the models that were used; each holds its `network`.
        mark: the citation mark of the article, such as `[12]`.
        sets: numbers of people by set. Without people of `train`, finished models were used, whose training the
            configuration does not describe; what concerns test people is said only if there are some.
    """
    runs, cited = list(runs), f"{publication.sentence} {mark}"
    told = [choice for choice in publication.choices if sets["train"] or choice.step not in OF_TRAINING]
    other, own = (
        [text for choice in told if choice.tag in tags for text in _differences(choice, settings, runs)]
        for tags in (("stated", "deduced"), ("chosen", "deviates"))
    )
    sentences = []
    if other:
        sentences.append(f"This is not the protocol of {cited}: {'; '.join(other)}.")
        if own:
            sentences.append(f"Of the settings that Osteoflow chose itself, these differ: {'; '.join(own)}.")
    elif own:
        sentences.append(f"Settings that {cited} state were kept; others differ: {'; '.join(own)}.")
    else:
        sentences.append(f"The settings are Osteoflow’s reading of {cited}.")
    departs = [choice.departs for choice in told if choice.departs]
    departs += [choice.departs_in_test for choice in told if choice.departs_in_test and sets["test"]]
    sentences.append(
        f"In any case Osteoflow departs from the article: {'; '.join(departs)}. What the article leaves open, such "
        f"as {publication.left_open}, was deduced or chosen (docs/{publication.name}.md)."
    )
    return " ".join(sentences)


def _differences(choice: Choice, settings: Mapping, runs: Iterable[Mapping]) -> list[str]:
    """Return `setting value (in place of the protocol's value)` for each setting of a choice that differs.

    The values of many networks are listed together.
    """
    others: dict[tuple[str, str], dict[str, None]] = {}  # values by setting and expected value
    for name, expected in choice.settings.items():
        if name.startswith(NETWORK):
            key = name.removeprefix(NETWORK)
            values = {run["network"]: run["architecture"][key] for run in runs}
            many = len(values) > FEW_NETWORKS
            made = [
                (f"networks{'' if many else f'.{network}'}.{key}", value) for network, value in values.items()
            ]
        else:
            made = [(name, _setting(settings, name))]
        for where, value in made:
            if _plain(value) != _plain(expected):
                others.setdefault((where, _plain(expected)), {})[_plain(value)] = None
    return [
        f"{where} {' or '.join(values)} (in place of {expected})"
        for (where, expected), values in others.items()
    ]


def _setting(settings: Mapping, name: str) -> object:
    value: object = settings
    for key in name.split("."):
        value = value[key]
    return value


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "-".join(value) or "none"
    if isinstance(value, list | tuple):
        return "-".join(map(_plain, value)) or "none"
    return show_setting(value)
