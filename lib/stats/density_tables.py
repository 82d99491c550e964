"""The tables of densities, made of the rows of single structures."""

import pandas as pd

from lib.stats.density_agreement import bmd_agreement_table
from lib.stats.density_classes import class_tables
from lib.stats.density_people import bmd_people_table
from lib.stats.density_plan import DensityPlan
from lib.stats.density_scale import without_scale
from lib.stats.density_vendors import vendor_table


def density_tables(bmd: pd.DataFrame, plan: DensityPlan) -> dict[str, pd.DataFrame]:
    """Return the tables by file name: bmd_people, bmd_agreement, vendors, classes, confusion.

    Densities carry the scale in their names. `bmd` is tables/bmd.csv (`lib.stats.density_rows.bmd_table`).
    """
    bare = without_scale(bmd)
    people = bmd_people_table(bare, plan)
    bare_people = without_scale(people)
    classes, confusion = class_tables(bare_people, bare, plan)
    return {
        "bmd_people": people,
        "bmd_agreement": bmd_agreement_table(bare, bare_people, plan),
        "vendors": vendor_table(bare_people, bare, plan),
        "classes": classes,
        "confusion": confusion,
    }
