"""The references of the report, numbered in the order of citation."""

from collections.abc import Mapping

from lib.publications.followed import PUBLICATIONS
from lib.publications.work import Work

REFERENCES: Mapping[str, Work] = {
    **{name: publication.reference for name, publication in PUBLICATIONS.items()},
    "snakemake": Work(
        authors="Mölder F, Jablonski KP, Letcher B, et al",
        title="Sustainable data analysis with Snakemake",
        journal="F1000Research", year=2021, volume="10", pages="33", doi="10.12688/f1000research.29032.2",
    ),
    "n4": Work(
        authors="Tustison NJ, Avants BB, Cook PA, et al",
        title="N4ITK: improved N3 bias correction",
        journal="IEEE Transactions on Medical Imaging", year=2010, volume="29", pages="1310-1320",
        doi="10.1109/TMI.2010.2046908",
    ),
    "vnet": Work(
        authors="Milletari F, Navab N, Ahmadi SA",
        title="V-Net: fully convolutional neural networks for volumetric medical image segmentation",
        proceedings="Fourth International Conference on 3D Vision", year=2016, pages="565-571",
        doi="10.1109/3DV.2016.79",
    ),
    "unet": Work(
        authors="Ronneberger O, Fischer P, Brox T",
        title="U-Net: convolutional networks for biomedical image segmentation",
        proceedings="MICCAI", year=2015, pages="234-241", doi="10.1007/978-3-319-24574-4_28",
    ),
    "densenet": Work(
        authors="Huang G, Liu Z, van der Maaten L, Weinberger KQ",
        title="Densely connected convolutional networks",
        proceedings="CVPR", year=2017, pages="4700-4708", doi="10.1109/CVPR.2017.243",
    ),
    "adam": Work(
        authors="Kingma DP, Ba J",
        title="Adam: a method for stochastic optimization",
        proceedings="ICLR", year=2015, arxiv="1412.6980",
    ),
    "adamw": Work(
        authors="Loshchilov I, Hutter F",
        title="Decoupled weight decay regularization",
        proceedings="ICLR", year=2019, arxiv="1711.05101",
    ),
    "he": Work(
        authors="He K, Zhang X, Ren S, Sun J",
        title="Delving deep into rectifiers: surpassing human-level performance on ImageNet classification",
        proceedings="ICCV", year=2015, pages="1026-1034", doi="10.1109/ICCV.2015.123",
    ),
    "lsuv": Work(
        authors="Mishkin D, Matas J",
        title="All you need is a good init",
        proceedings="ICLR", year=2016, arxiv="1511.06422",
    ),
    "otsu": Work(
        authors="Otsu N",
        title="A threshold selection method from gray-level histograms",
        journal="IEEE Transactions on Systems, Man, and Cybernetics", year=1979, volume="9", pages="62-66",
        doi="10.1109/TSMC.1979.4310076",
    ),
    "surface_dice": Work(
        authors="Nikolov S, Blackwell S, Zverovitch A, et al",
        title="Clinically applicable segmentation of head and neck anatomy for radiotherapy: deep learning algorithm "
        "development and validation study",
        journal="Journal of Medical Internet Research", year=2021, volume="23", pages="e26151", doi="10.2196/26151",
    ),
    "marching_cubes": Work(
        authors="Lewiner T, Lopes H, Vieira AW, Tavares G",
        title="Efficient implementation of marching cubes' cases with topological guarantees",
        journal="Journal of Graphics Tools", year=2003, volume="8(2)", pages="1-15",
        doi="10.1080/10867651.2003.10487582",
    ),
    "michalski": Work(
        authors="Michalski AS, Besler BA, Michalak GJ, Boyd SK",
        title="CT-based internal density calibration for opportunistic skeletal assessment using abdominal CT scans",
        journal="Medical Engineering & Physics", year=2020, volume="78", pages="55-63",
        doi="10.1016/j.medengphy.2020.01.009",
    ),
    "ctxa": Work(
        authors="Cann CE, Adams JE, Brown JK, Brett AD",
        title="CTXA hip: an extension of classical DXA measurements using quantitative CT",
        journal="PLoS One", year=2014, volume="9", pages="e91904", doi="10.1371/journal.pone.0091904",
    ),
    "looker": Work(
        authors="Looker AC, Wahner HW, Dunn WL, et al",
        title="Updated data on proximal femur bone mineral levels of US adults",
        journal="Osteoporosis International", year=1998, volume="8", pages="468-489", doi="10.1007/s001980050093",
    ),
    "bland_altman": Work(
        authors="Bland JM, Altman DG",
        title="Statistical methods for assessing agreement between two methods of clinical measurement",
        journal="Lancet", year=1986, volume="327", pages="307-310", doi="10.1016/S0140-6736(86)90837-8",
    ),
    "carkeet": Work(
        authors="Carkeet A",
        title="Exact parametric confidence intervals for Bland-Altman limits of agreement",
        journal="Optometry and Vision Science", year=2015, volume="92", pages="e71-e80",
        doi="10.1097/OPX.0000000000000513",
    ),
    "jackknife": Work(
        authors="Efron B, Tibshirani RJ",
        title="An introduction to the bootstrap",
        publisher="Chapman & Hall", year=1993, part="chapter 11",
    ),
    "bca": Work(
        authors="Efron B",
        title="Better bootstrap confidence intervals",
        journal="Journal of the American Statistical Association", year=1987, volume="82", pages="171-185",
        doi="10.1080/01621459.1987.10478410",
    ),
    "lin": Work(
        authors="Lin LI",
        title="A concordance correlation coefficient to evaluate reproducibility",
        journal="Biometrics", year=1989, volume="45", pages="255-268", doi="10.2307/2532051",
    ),
    "cv_plus": Work(
        authors="Barber RF, Candès EJ, Ramdas A, Tibshirani RJ",
        title="Predictive inference with the jackknife+",
        journal="Annals of Statistics", year=2021, volume="49", pages="486-507", doi="10.1214/20-AOS1965",
    ),
    "icc": Work(
        authors="McGraw KO, Wong SP",
        title="Forming inferences about some intraclass correlation coefficients",
        journal="Psychological Methods", year=1996, volume="1", pages="30-46", doi="10.1037/1082-989X.1.1.30",
    ),
    "precision": Work(
        authors="Glüer CC, Blake G, Lu Y, Blunt BA, Jergas M, Genant HK",
        title="Accurate assessment of precision errors: how to measure the reproducibility of bone densitometry "
        "techniques",
        journal="Osteoporosis International", year=1995, volume="5", pages="262-270", doi="10.1007/BF01774016",
    ),
}  # fmt: skip


class Citations:
    """Numbers references in the order of citation; `listed` holds them in that order."""

    def __init__(self) -> None:
        self._keys: list[str] = []

    def cite(self, *keys: str) -> str:
        """Return the citation mark for the text, such as `[1,3]`; a reference keeps its number.

        Raises:
            KeyError: a key is not in REFERENCES.
        """
        for key in keys:
            REFERENCES[key]
            if key not in self._keys:
                self._keys.append(key)
        return f"[{','.join(str(self._keys.index(key) + 1) for key in keys)}]"

    @property
    def listed(self) -> list[Work]:
        """The references cited so far, by number."""
        return [REFERENCES[key] for key in self._keys]

    @property
    def bibtex(self) -> str:
        """The references cited so far, as a file of BibTeX."""
        return "\n\n".join(REFERENCES[key].bibtex(key) for key in self._keys) + "\n"
