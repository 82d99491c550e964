"""What the abstracts of Deniz et al. print: proximal femur in MR, 2-D and 3-D networks.

Only the abstracts were read: of two versions of the preprint, and of the article. Neither the table of the networks
nor their settings are known here.
"""

from lib.publications.article import PrintedScore, Publication
from lib.publications.work import Work

_SPREAD = "read from the abstract, which does not say what ± spreads over"


def _scores(
    version: str, networks: str, numbers: tuple[float, ...], source: str, remark: str
) -> list[PrintedScore]:
    """Return DSC, precision and recall of 86 people; `numbers` are mean and spread of each."""
    names = (("dsc", "dice similarity score"), ("precision", "precision"), ("sensitivity", "recall"))
    return [
        PrintedScore(
            version=version,
            data="86 people",
            protocol="four-fold cross-validation",
            networks=networks,
            measure=measure,
            printed_as=printed_as,
            mean=mean,
            spread=spread,
            source=source,
            remark=remark,
        )
        for (measure, printed_as), mean, spread in zip(names, numbers[::2], numbers[1::2], strict=True)
    ]


DENIZ_2018 = Publication(
    name="deniz-2018",
    short="Deniz et al. 2018",
    sentence="Deniz et al. (2018)",
    reference=Work(
        authors="Deniz CM, Xiang S, Hallyburton S, et al",
        title="Segmentation of the proximal femur from MR images using deep convolutional neural networks",
        journal="Scientific Reports",
        year=2018,
        doi="10.1038/s41598-018-34817-6",
    ),
    anatomy="proximal-femur",
    modality="MR",
    scores=(
        PrintedScore(
            version="preprint, version 1 (2017)",
            data="62 scans",
            protocol="",
            networks="two different CNN architectures",
            measure="dsc",
            printed_as="dice similarity score",
            mean=0.95,
            spread=None,
            source="arXiv:1704.06176v1, abstract",
            remark="read from the abstract, which prints no spread",
        ),
        *_scores(
            "preprint, version 2 (2017)",
            "a CNN based on 3-D convolution",
            (0.94, 0.05, 0.95, 0.02, 0.94, 0.08),
            "arXiv:1704.06176v2, abstract",
            f"{_SPREAD}; it says that the 3-D network exceeded the 2-D ones",
        ),
        *_scores(
            "article (2018)",
            "CNNs",
            (0.95, 0.02, 0.95, 0.02, 0.95, 0.03),
            "doi:10.1038/s41598-018-34817-6, abstract",
            f"{_SPREAD}; it no longer says that the 3-D network exceeded the 2-D ones",
        ),
    ),
)
