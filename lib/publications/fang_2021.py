"""What the abstract of Fang et al. prints: lumbar vertebral bodies and bone mineral density in CT.

Only the abstract was read. It states people, networks and a few results; `left_open` lists what it does not state.
Authors, title and place of the reference are not in the abstract, and were not checked against the article.
"""

from lib.publications.article import PrintedScore, Publication
from lib.publications.work import Work

_SOURCE = "Fang et al. 2021, abstract"
_SETS = (("test set 1", 463, "0.823"), ("test set 2", 200, "0.786"), ("test set 3", 200, "0.782"))
_MINIMUM = (
    "printed as the minimum average Dice coefficient of L1 to L4 in this set; neither those of the single vertebrae "
    "nor their spread are printed"
)
_OF_VENDORS = (
    "a test set is one of three vendors; the abstract names none, and does not say which of them trained"
)

FANG_2021 = Publication(
    name="fang-2021",
    short="Fang et al. 2021",
    sentence="Fang et al. (2021)",
    reference=Work(
        authors="Fang Y, Li W, Chen X, et al",
        title="Opportunistic osteoporosis screening in multi-detector CT images using deep convolutional neural "
        "networks",
        journal="European Radiology",
        year=2021,
        volume="31",
        pages="1831-1842",
        doi="10.1007/s00330-020-07312-8",
    ),
    anatomy="lumbar-spine",
    modality="CT",
    left_open="the vendors, which of them trained, tube voltage, contrast medium, software and scale of QCT, "
    "cut-offs of the classes, sensitivity and specificity, whether networks saw slices or volumes",
    scores=(
        *(
            PrintedScore(
                version="abstract",
                data=f"{name}, {people} people",
                protocol="test people of one vendor",
                networks="U-Net",
                measure="dsc",
                printed_as="minimum average dice coefficient",
                mean=float(printed),
                spread=None,
                source=_SOURCE,
                remark=f"{_MINIMUM}; {_OF_VENDORS}",
                printed=printed,
            )
            for name, people, printed in _SETS
        ),
        PrintedScore(
            version="abstract",
            data="each of the three test sets",
            protocol="test people of one vendor",
            networks="DenseNet-121",
            measure="pearson_r",
            printed_as="correlation of average BMD with QCT",
            mean=0.98,
            spread=None,
            source=_SOURCE,
            remark="printed as a bound, the same for all sets; no bias, slope or limits of agreement are printed",
            printed="> 0.98",
        ),
    ),
    about="density",
)
