"""The references of the report, numbered in the order of citation."""

from lib.publications.followed import PUBLICATIONS

REFERENCES = {
    **{name: publication.reference for name, publication in PUBLICATIONS.items()},
    "snakemake": "Mölder F, Jablonski KP, Letcher B, et al. Sustainable data analysis with Snakemake. "
    "F1000Research 2021;10:33.",
    "n4": "Tustison NJ, Avants BB, Cook PA, et al. N4ITK: improved N3 bias correction. IEEE Transactions on Medical "
    "Imaging 2010;29:1310-1320.",
    "vnet": "Milletari F, Navab N, Ahmadi SA. V-Net: fully convolutional neural networks for volumetric "
    "medical image segmentation. Fourth International Conference on 3D Vision, 2016:565-571.",
    "unet": "Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image "
    "segmentation. MICCAI 2015:234-241.",
    "adam": "Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015.",
    "he": "He K, Zhang X, Ren S, Sun J. Delving deep into rectifiers: surpassing human-level performance on ImageNet "
    "classification. ICCV 2015:1026-1034.",
    "lsuv": "Mishkin D, Matas J. All you need is a good init. ICLR 2016.",
    "otsu": "Otsu N. A threshold selection method from gray-level histograms. IEEE Transactions on Systems, "
    "Man, and Cybernetics 1979;9:62-66.",
    "surface_dice": "Nikolov S, Blackwell S, Zverovitch A, et al. Clinically applicable segmentation of head and "
    "neck anatomy for radiotherapy: deep learning algorithm development and validation study. "
    "Journal of Medical Internet Research 2021;23:e26151.",
    "marching_cubes": "Lewiner T, Lopes H, Vieira AW, Tavares G. Efficient implementation of marching cubes' cases "
    "with topological guarantees. Journal of Graphics Tools 2003;8(2):1-15.",
    "bland_altman": "Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of "
    "clinical measurement. Lancet 1986;327:307-310.",
    "carkeet": "Carkeet A. Exact parametric confidence intervals for Bland-Altman limits of agreement. "
    "Optometry and Vision Science 2015;92:e71-e80.",
    "jackknife": "Efron B, Tibshirani RJ. An introduction to the bootstrap. Chapman & Hall, 1993, chapter 11.",
    "lin": "Lin LI. A concordance correlation coefficient to evaluate reproducibility. Biometrics "
    "1989;45:255-268.",
    "cv_plus": "Barber RF, Candès EJ, Ramdas A, Tibshirani RJ. Predictive inference with the jackknife+. "
    "Annals of Statistics 2021;49:486-507.",
    "icc": "McGraw KO, Wong SP. Forming inferences about some intraclass correlation coefficients. "
    "Psychological Methods 1996;1:30-46.",
    "precision": "Glüer CC, Blake G, Lu Y, Blunt BA, Jergas M, Genant HK. Accurate assessment of precision "
    "errors: how to measure the reproducibility of bone densitometry techniques. Osteoporosis "
    "International 1995;5:262-270.",
}


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
    def listed(self) -> list[str]:
        """The references cited so far, by number."""
        return [REFERENCES[key] for key in self._keys]
