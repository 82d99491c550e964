"""Mean densities of people over the structures that a study names, and the classes of these means."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import pandas as pd

from lib.catalog.groups import ALL
from lib.classes_settings import FEWEST_OF_MEAN, ClassesConfig
from lib.stats.density_plan import DensityPlan
from lib.stats.density_scale import scaled_columns, with_scale
from lib.stats.formats import undefined_reasons
from lib.stats.undefined import NAN, counted_reasons, undefined_text

OSTEOPOROSIS, OSTEOPENIA, NORMAL = "osteoporosis", "osteopenia", "normal"
CLASSES = (OSTEOPOROSIS, OSTEOPENIA, NORMAL)
# a mean this near a cut-off changes its class by the error of a measurement, mg/cm3
NEAR_CUT_OFF = 5.0
MEANS = ("reference", "predicted")
BMD_PEOPLE_COLUMNS = (
    *("group", "network", "members", "protocol", "method", "scan", "subject", "sex", "age", "fold", "vendor"),
    *(
        "mean_of",
        "levels_used",
        "levels_left_out",
        *MEANS,
        "reference_class",
        "predicted_class",
        "class_withheld",
    ),
    *("contrast", "trains", "repeat_of", "undefined"),
)
_SCAN_KEYS = ("group", "network", "members", "protocol", "method", "scan")
CONTRAST_MEDIUM = "contrast medium raises the density"
TOO_FEW = f"fewer than {FEWEST_OF_MEAN} usable structures"
FEW_REFERENCES = f"fewer than {FEWEST_OF_MEAN} usable structures with a reference"


def density_class(density: float, classes: ClassesConfig) -> str:
    """Return the class of a mean density, one of CLASSES; empty for NaN. Both cut-offs belong to osteopenia."""
    if pd.isna(density):
        return ""
    if density < classes.osteoporosis_below:
        return OSTEOPOROSIS
    return NORMAL if density > classes.normal_above else OSTEOPENIA


def is_near_cut_off(density: float, classes: ClassesConfig) -> bool:
    """Return whether a density lies within NEAR_CUT_OFF of a cut-off."""
    return (
        min(abs(density - cut) for cut in (classes.osteoporosis_below, classes.normal_above)) <= NEAR_CUT_OFF
    )


def bmd_people_table(bmd: pd.DataFrame, plan: DensityPlan) -> pd.DataFrame:
    """Return BMD_PEOPLE_COLUMNS, a row for each prediction, method and mean; densities carry the scale.

    A mean is that of the usable structures among those it names, at least FEWEST_OF_MEAN. If the scan has
    references, reference and prediction are means over the same structures, those with both; else over all usable
    ones that were predicted. Nothing is filled in for a structure that is not usable. The class of the prediction is
    withheld if a flag of the scan asks for it (`class_withheld`).

    Args:
        bmd: the result of `lib.stats.density_rows.bmd_table`, without the scale in its names.
        plan: means and cut-offs.
    """
    scans: dict[tuple, list[dict]] = {}
    for row in bmd.to_dict("records"):
        scans.setdefault(tuple(row[name] for name in _SCAN_KEYS), []).append(row)
    rows = [
        _mean_row([row for row in structures if row["structure"] in named], (name, named), plan)
        for structures in scans.values()
        for name, named in plan.classes.means.items()
    ]
    columns = scaled_columns(BMD_PEOPLE_COLUMNS, MEANS, plan.scale)
    table = pd.DataFrame([with_scale(row, MEANS, plan.scale) for row in rows], columns=columns)
    return table.assign(fold=table["fold"].astype("Int64"))


def _mean_row(
    structures: Sequence[Mapping], mean: tuple[str, Sequence[str]], plan: DensityPlan
) -> dict[str, object]:
    """Return the row of one scan, method and mean, from the rows of its structures."""
    first, (name, named) = structures[0], mean
    has_reference = any(_known(row, "reference") for row in structures)
    usable = [row for row in structures if row["usable"] == "yes"]
    candidates = [row for row in usable if _known(row, "reference") or not has_reference]
    used = [row for row in candidates if _known(row, "predicted")]
    enough = len(used) >= FEWEST_OF_MEAN
    reference = fmean(row["reference"] for row in used) if enough and has_reference else NAN
    predicted = fmean(row["predicted"] for row in used) if enough else NAN
    few = FEW_REFERENCES if len(usable) >= FEWEST_OF_MEAN else TOO_FEW
    if len(candidates) >= FEWEST_OF_MEAN:
        few = _why_not_predicted(candidates) or TOO_FEW
    withheld = first["class_withheld"] or (CONTRAST_MEDIUM if first["contrast"] == "yes" else "")
    withheld = withheld or ("" if enough else few)
    no_reference = few if has_reference else "no reference density in the cohort table"
    why = {"reference": "" if math.isfinite(reference) else no_reference, "predicted": "" if enough else few}
    levels = [row["structure"] for row in used]
    return {
        **{column: first[column] for column in BMD_PEOPLE_COLUMNS if column in first},
        **{"mean_of": name, "levels_used": " ".join(levels)},
        "levels_left_out": " ".join(one for one in named if one not in levels),
        **{"reference": reference, "predicted": predicted},
        "reference_class": density_class(reference, plan.classes),
        "predicted_class": "" if withheld else density_class(predicted, plan.classes),
        "class_withheld": withheld,
        "undefined": undefined_text(with_scale(why, MEANS, plan.scale)),
    }


def _known(row: Mapping, name: str) -> bool:
    return not pd.isna(row[name])


def _why_not_predicted(structures: Sequence[Mapping]) -> str:
    """Return why structures without a density have none."""
    told = (row["undefined"] for row in structures if not _known(row, "predicted"))
    return counted_reasons(undefined_reasons(text).get("predicted", "") for text in told)


def one_a_person(people: pd.DataFrame) -> pd.DataFrame:
    """Return means with one row a person: the mean over a person's scans, without repeated scans.

    `people` are rows of one group, network, protocol, method, mean and contrast, with reference and prediction.
    """
    how = {"reference": "mean", "predicted": "mean", "vendor": "first", "mask_dsc": "mean"}
    known = {column: rule for column, rule in how.items() if column in people}
    return people.groupby("subject", sort=True).agg(known).reset_index()


def without_repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of densities without repeated scans: a repeat counts only where its first scan has no row."""
    first = table["repeat_of"].where(table["repeat_of"] != "", table["scan"])
    ranked = table.assign(first_scan=first, again=first != table["scan"]).sort_values("again", kind="stable")
    keys = [name for name in (*_SCAN_KEYS[:-1], "structure", "mean_of") if name in table]
    kept = ranked.drop_duplicates([*keys, "first_scan"]).index
    return table[table.index.isin(kept)]


def trained_vendors(bmd: pd.DataFrame) -> Mapping[tuple[str, str], frozenset[str]]:
    """Return the vendors of the people who trained, by group and network; densities without the scale.

    A vendor trained if one of its scans trains and has a usable reference. A study with finished models has nobody
    who trained: its groups are missing.
    """
    training = bmd[(bmd["trains"] == "yes") & (bmd["usable"] == "yes") & bmd["reference"].notna()]
    found = training.groupby(["group", "network"])["vendor"].unique()
    return {key: frozenset(vendors) for key, vendors in found.items()}


def vendor_trained(
    trained: Mapping[tuple[str, str], frozenset[str]], key: tuple[str, str], vendor: str
) -> str:
    """Return whether people of a vendor trained: `yes`, `no`; empty where it is not known, or of all vendors.

    Args:
        trained: the result of `trained_vendors`.
        key: group and network.
        vendor: its name, or ALL.
    """
    known = trained.get(key)
    return "" if known is None or vendor == ALL else "yes" if vendor in known else "no"
