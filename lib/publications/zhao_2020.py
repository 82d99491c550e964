"""The article of Zhao et al. 2020 (proximal femur in QCT): its tables, and its protocol, choice by choice.

`docs/zhao-2020.md` shows all choices (`lib.pages.protocol_text.choices_table`), config.yaml repeats the tag of each
setting, and the methods paragraph of the report says where a study differs. Tests check that the three agree.
"""

from lib.publications.article import Choice, Publication
from lib.publications.work import Work

FEMUR = "femur"  # the structure of its tables
# Table 1, test people by group: mean and population SD of the reference (mm3), MAE and RMSE (mm3), R2, smallest and
# largest relative error (percent)
PRINTED_TABLE1 = {
    "all": (89999.59, 21325.23, 901.40, 1295.66, 0.9956, -2.1476, 4.0612),
    "male": (105489.94, 18343.68, 658.47, 883.48, 0.9977, -1.9313, 0.8229),
    "female": (76832.80, 13340.79, 775.75, 1361.10, 0.9896, -4.8504, 1.2005),
}
_SOURCE = "Zhao et al. 2020, Table 2"
# Table 2; the text gives four values for the column of sexes without naming their rows
_COLUMNS = ("authors", "method", "data", "slice_thickness", "dsc", "footnote")
PRINTED_TABLE2 = tuple(
    dict(zip(_COLUMNS, row, strict=True)) | {"source": _SOURCE, "structure": FEMUR} | more
    for *row, more in (
        ("Diogo F.", "Active shape", "148 CT", "0.625 mm", "0.9400±0.0016", "", {}),
        ("Carballido-Gamio J", "Multi-atlas", "210 QCT", "2.5 mm and 1 mm", "0.9760±0.0060", "", {}),
        ("Chen F.", "3D CNN", "150 CT", "1.32 to 1.85 mm", "0.9688±0.0095", "", {}),
        ("Chang Y.", "CRF", "60 CT (120 hemi-hips)", "0.45 to 1.2 mm", "0.9490±0.0070", "", {}),
        (
            *("Deniz, C.M.", "3D CNN", "36 3T MR", "1.5 mm", "0.9500±0.0200"),
            "later versions of the cited paper report 86 people",
            {},
        ),
        (
            *("Zhao C. (the paper)", "3D CNN", "397 QCT", "3 mm", "0.9815±0.0009"),
            "the paper does not say what ± spreads over; sensitivity and specificity are from its text",
            {"sex": "M&F", "sensitivity": "0.9852", "specificity": "0.9992"},
        ),
    )
)


def _choice(step: str, tag: str, here: str, why: str, **more: object) -> Choice:
    """Return a choice; `more` are its clauses on departures, and its settings with `__` instead of the dot."""
    clauses = {name: str(more.pop(name)) for name in ("departs", "departs_in_test") if name in more}
    named = {name.replace("__", "."): value for name, value in more.items()}
    return Choice(step=step, tag=tag, here=here, why=why, settings=named, **clauses)


_CHOICES = (
    _choice(
        "Slices", "stated", "2 mm slices become 3 mm slices: Fourier interpolation turns three slices into six of "
        "1 mm, averaging turns these into two of 3 mm", "Section 2.1.",
        resample__method="fourier", resample__thickness_mm=3.0,
    ),
    _choice(
        "Slices", "chosen", "the 1 mm slabs tile the 2 mm slabs (a shift of half a voxel)",
        "The article does not say where the new slices lie. Without the shift the two new slices have different "
        "filters.",
    ),
    _choice(
        "Slices", "chosen", "groups begin at the distal end; a remainder above the head is dropped",
        "The article does not say where groups begin.", resample__group_start="distal",
    ),
    _choice(
        "Slices", "chosen", "pixels stay as acquired",
        "The article gives 0.742 to 0.977 mm in one place and 0.8 mm in another.", resample__inplane_mm="native",
    ),
    _choice(
        "Window", "stated", "192 × 192 pixels around one hip", "Section 2.3.", crop__size=[192, 192],
    ),
    _choice(
        "Window", "deviates", "the window is placed automatically; a centre can be given in the table",
        "The article placed the window by hand.", departs="the window is placed automatically", crop__method="hip",
    ),
    _choice(
        "Window", "deviates", "slices more than 60 mm above the centre of the femoral head are cut",
        "The article kept all 37 to 95 slices.", departs="slices far above the femoral head are cut",
        crop__above_head_mm=60.0,
    ),
    _choice(
        "Window", "chosen", "right hips are mirrored to left ones", "The article used only left hips.",
    ),
    _choice(
        "Intensity", "chosen", "−1000 to 2000 HU, clipped, scaled to 0 to 1", "The article names no range.",
        intensity__scale="range", intensity__low=-1000.0, intensity__high=2000.0,
    ),
    _choice(
        "People", "stated", "10 % test people, 10-fold cross-validation of the others, for all, men and women",
        "Section 2.4.", folds__folds=10, folds__test_fraction=0.1,
        groups={"all": {}, "male": {"sex": "M"}, "female": {"sex": "F"}},
    ),
    _choice(
        "People", "deduced", "test people are the same in every group: all = men + women",
        "Mean and SD of all in Table 1 are those of 17 men and 20 women together, to 0.01 mm³.",
    ),
    _choice(
        "People", "chosen", "folds and test people are balanced over age bands; all scans of a person stay together",
        "The article does not say how people were drawn.", folds__age_bands=3,
    ),
    _choice(
        "Network", "stated", "3-D V-Net: three max-poolings, three transposed convolutions, concatenated skips, "
        "dropout, a 1×1×1 convolution, a probability for each voxel", "Section 2.3.",
        networks__vnet__dimensions=3, networks__vnet__skip="concat",
    ),
    _choice(
        "Network", "deduced", "32, 64, 128, 256 feature maps; 1, 2, 3, 3 convolutions on the encoder's levels, 2, 2, "
        "2 on the decoder's; kernels of 3×3×3, transposed ones too: 8,601,409 parameters",
        "The article states 8.6 million parameters; the maps are in its figure, not in its text. Other counts of "
        "convolutions and kernels fit as well.",
        networks__vnet__channels=[32, 64, 128, 256], networks__vnet__encoder_convolutions=[1, 2, 3, 3],
        networks__vnet__decoder_convolutions=[2, 2, 2], networks__vnet__kernel=3, networks__vnet__transposed_kernel=3,
    ),
    _choice(
        "Network", "deviates", "skips branch off before each max-pooling",
        "The article says that maps after the pooling go to the decoder; the uppermost level would then have no "
        "skip.",
        departs="skip connections branch off before the pooling",
    ),
    _choice(
        "Network", "chosen", "ReLU after each convolution, none after transposed ones; no normalisation, no residual "
        "shortcuts, no dilation",
        "The article mentions none of these. Their few parameters would not change the stated 8.6 million.",
        networks__vnet__activation="relu", networks__vnet__normalisation="none", networks__vnet__residual=False,
        networks__vnet__bottleneck_dilation=1,
    ),
    _choice(
        "Network", "chosen", "dropout drops 20 % of the feature maps, each as a whole",
        "“The dropout probability was set as 0.8” is read as the share that is kept; the article does not say "
        "whether voxels or maps are dropped.", networks__vnet__dropout=0.2,
    ),
    _choice(
        "Network", "chosen",
        "weights are initialised as in He et al. 2015; each layer is then scaled on four windows",
        "The article names no initialisation. Without the scaling, training with soft Dice soon predicts bone "
        "everywhere.",
    ),
    _choice(
        "Training", "stated", "Dice loss, Adam, learning rate 0.0001, 1000 epochs, windows of 32 axial slices",
        "Sections 2.3 and 2.4.",
        train__loss="dice", train__learning_rate=1e-4, train__epochs=1000, train__window_slices=32,
        model_frame__slice_axis="z",
    ),
    _choice(
        "Training", "deduced", "the Dice loss takes probabilities (soft Dice)",
        "The article writes it with the binary result, which has no gradient.",
    ),
    _choice(
        "Training", "chosen", "L2 term: α = 0.00001 times the sum of squared weights, without biases",
        "The article gives no α, and its formula is garbled in the available text.", train__l2_alpha=1e-5,
    ),
    _choice(
        "Training", "chosen", "batch size 1; an epoch takes one window of each scan, at a random place",
        "The article states neither batch size nor sampling.",
        train__batch_size=1, train__samples_per_scan=1, train__accumulate=1,
    ),
    _choice(
        "Training", "chosen", "constant learning rate; no warm-up, no average of weights, no early stop",
        "The article mentions none.", train__schedule="constant", train__warm_up=0.0, train__weight_average=0.0,
        train__early_stop_epochs=0,
    ),
    _choice(
        "Training", "chosen", "bf16 where the device supports it, else float32",
        "The article does not name its precision.", train__precision="auto",
    ),
    _choice(
        "Training", "deviates", "PyTorch", "The article used TensorFlow.", departs="PyTorch replaces TensorFlow",
    ),
    _choice(
        "Augmentation", "stated", "rotation about each axis by up to 15°, mirror, brightness, gamma, Gaussian noise, "
        "at random", "Section 2.4.", train__augment__rotation_degrees=15.0,
    ),
    _choice(
        "Augmentation", "chosen", "each with a probability of 0.5; angles uniform; mirroring only from front to "
        "back, because mirroring left to right would make a right hip; brightness ± 0.1, gamma 0.7 to 1.5, noise SD "
        "up to 0.02",
        "The article gives no amounts and no axes.",
        train__augment__probability=0.5, train__augment__mirror_axes=["y"], train__augment__brightness=0.1,
        train__augment__gamma=[0.7, 1.5], train__augment__noise_sd=0.02,
    ),
    _choice(
        "Weights", "deviates", "for held-out people, weights are chosen on the fold's validation people; "
        "cross-validation uses the last weights",
        "The article chose its model by the Dice of the test people, which is leakage.",
        departs_in_test="no weights are chosen on test people", predict__heldout_weights="best",
    ),
    _choice(
        "Prediction", "deviates", "test people are predicted by the mean probability of all folds; the fold with the "
        "best validation Dice also predicts them (single model)", "The article used one model.",
        departs_in_test="test people are predicted by all folds together and, separately, by a single model",
    ),
    _choice(
        "Prediction", "stated", "windows move by one slice, none beyond the ends (D − 31 windows for D slices)",
        "Section 2.4.", predict__step=1, predict__z_padding=0,
    ),
    _choice(
        "Prediction", "chosen", "overlapping probabilities are averaged",
        "The article does not say how they are combined.",
    ),
    _choice(
        "Prediction", "stated", "Otsu's threshold of the probability map", "Section 2.3.", mask__method="otsu",
    ),
    _choice(
        "Prediction", "chosen", "the middle of the criterion's plateau; 0.5 where the threshold is below 0.2 or "
        "above 0.8; only the largest component is kept", "The article says only “the OTSU algorithm”.",
        mask__low=0.2, mask__high=0.8, mask__fallback=0.5, mask__keep_largest=True,
    ),
    _choice(
        "Numbers", "deduced", "R² = 1 − SS(residual) / SS(total); SD of the reference with ddof 0; RE = (predicted − "
        "reference) / reference", "The article gives no formula. R² follows from RMSE and SD of Table 1 for men and "
        "women; for all it would be 0.9963 in place of the printed 0.9956.",
    ),
)  # fmt: skip

ZHAO_2020 = Publication(
    name="zhao-2020",
    short="Zhao et al. 2020",
    sentence="Zhao et al. (2020)",
    reference=Work(
        authors="Zhao C, Keyak JH, Tang J, et al",
        title="A deep learning-based method for automatic segmentation of proximal femur from quantitative computed "
        "tomography images",
        year=2020,
        arxiv="2006.05513",
    ),
    anatomy="proximal-femur",
    modality="CT",
    figures={"examples": 4, "solid": 5, "scores": 6, "relative_error": 7},
    tables=True,
    definitions={
        "r2": "Zhao 2020 gives no formula; this one reproduces its values for men and women from its RMSE and SD, "
        "but gives 0.9963 instead of 0.9956 for all.",
        "reference_sd": "as deduced from Zhao’s Table 1",
        "overlap": "as in the paper",
    },
    choices=_CHOICES,
    left_open="the convolutions of each level, normalisation, α, batch size and the range of intensities",
)
