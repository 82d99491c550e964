"""A made-up study for the tests of tables, figures and the report: people, scores and screening results."""

import numpy as np
import pandas as pd

from lib.catalog.measures import QUANTITIES, QUANTITY_COLUMNS, WHOLE
from lib.stats.agreement_tables import agreement_table
from lib.stats.agreement_units import volumes_of
from lib.stats.tables import (
    METRIC_COLUMNS,
    ROW_COLUMNS,
    UNSCORED_COLUMNS,
    metrics_table,
    structure_key,
    unscored_table,
    volumes_table,
)

GROUP_SEXES = {"all": "MF", "male": "M", "female": "F"}


def people(count=60, test=8, folds=5):
    """Rows of `folds/folds.csv`: men and women alternate, and the first `test` ones are test people."""
    ages = np.linspace(27, 93, count).round()
    return [
        {
            "scan": f"P{index:03d}",
            "subject": f"P{index:03d}",
            "sex": "MF"[index % 2],
            "age": f"{age:.0f}" if age < 90 else "90+",
            "site": "north" if index % 3 else "south",
            "has_mask": 1,
            "set": "test" if index < test else "train",
            "fold": -1 if index < test else index % folds,
            "batch": index % 4,
            "trains": int(index >= test),
        }
        for index, age in enumerate(np.random.default_rng(5).permutation(ages))
    ]


def predictions(placements, network="vnet"):
    """Planned predictions: cross-validation by the own fold, test people by the ensemble and by the single best."""
    rows = []
    for group, sexes in GROUP_SEXES.items():
        for person in placements:
            members = {
                "train": [("fold-{fold}", "cv")],
                "test": [("ensemble", "test"), ("single", "test-single")],
            }
            for name, protocol in members.get(person["set"], [("ensemble", person["set"])]):
                if person["sex"] in sexes:
                    weights = "last" if protocol == "cv" else "best"
                    key = {"group": group, "network": network, "members": name.format(**person)}
                    rows.append(
                        person | key | {"protocol": protocol, "weights": weights, "structure": "femur"}
                    )
    return rows


def measured(prediction, generator):
    """An overlap record and a volume record like those of a well trained model."""
    size = 105_000 if prediction["sex"] == "M" else 77_000
    # the reference depends on the person, not on the model
    person = np.random.default_rng(int(prediction["scan"][1:]))
    reference = size * (1 + 0.17 * person.standard_normal())
    predicted = reference * (1 + 0.004 + 0.011 * generator.standard_normal())
    dsc = 0.981 + 0.004 * generator.standard_normal()
    distance = np.arange(0, 96, 3.0)
    missed = 60 + 300 * np.exp(-distance / 5) + 40 * generator.random(len(distance))
    overlap = {
        "dsc": dsc,
        "dsc_native": dsc - 0.008,
        "sensitivity": dsc + 0.004,
        "specificity": 0.9992 + 0.0002 * generator.standard_normal(),
        "precision": dsc - 0.003,
        "hd95_mm": (hd95 := abs(1.1 + 0.4 * generator.standard_normal())),
        "assd_mm": abs(0.31 + 0.05 * generator.standard_normal()),
        "nsd": min(1.0, 0.97 + 0.01 * generator.standard_normal()),
        **{"auc_pr": dsc + 0.015, "auc_roc": 1 - (1 - dsc) / 50, "dsc_half": dsc - 0.001},
        **{"dsc_raw": dsc - 0.002, "precision_raw": dsc - 0.006, "recall_raw": dsc + 0.004},
        "hd95_raw_mm": 1.5 * hd95,
        "reference_mm3": reference,
        "reference_native_mm3": reference * 1.002,
        "predicted_mm3": predicted,
        "re_percent": 100 * (predicted / reference - 1),
        "hd_mm": 3 * hd95,
        "hd_reference_to_predicted_mm": 3 * hd95,
        "hd_predicted_to_reference_mm": 2 * hd95,
        "hd95_reference_to_predicted_mm": hd95,
        "hd95_predicted_to_reference_mm": 0.8 * hd95,
        "volume_error_mm3": predicted - reference,
        "specificity_voxels": 2_000_000,
        **{f"{name}_voxels": 50_000 for name in ("true_positive", "false_positive", "false_negative")},
        "true_negative_voxels": 1_950_000,
        **{"side": "left", "spacing_x_mm": 0.8, "spacing_y_mm": 0.8, "spacing_z_mm": 3.0},
        "nsd_tolerance_mm": 1.0,
        "dsc_head": dsc - 0.004,
        "dsc_neck": dsc + 0.003,
        "dsc_trochanter": dsc - 0.002,
        "dsc_shaft": dsc + 0.006,
        "by_slice": {
            "distance_mm": distance.tolist(),
            "reference_mm3": np.full(len(distance), 3000.0).tolist(),
            "missed_mm3": missed.tolist(),
            "added_mm3": (missed * 0.8).tolist(),
        },
        "undefined": {},
    }
    volume = {
        "predicted_mm3": predicted,
        "predicted_full_mm3": predicted * 1.001,
        "predicted_at_half_mm3": predicted * 0.999,
        "otsu_threshold": 0.49 + 0.02 * generator.random(),
        "mean_value": 310 + 40 * generator.standard_normal(),
        "sd_value": 240.0,
        "truncated_distally": True,
        "length_mm": 102.0,
        "density_phantom_in_view": True,
        "flags": ["bone_at_border"] if generator.random() < 0.05 else [],
    }
    return overlap, volume


def tables(count=60, test=8):
    """Return (metrics, volumes, overlaps by key) of the made-up study."""
    generator = np.random.default_rng(11)
    planned = predictions(people(count, test))
    records = {structure_key(row): measured(row, generator) for row in planned}
    overlaps = {key: pair[0] for key, pair in records.items()}
    volumes = {key: pair[1] for key, pair in records.items()}
    return metrics_table(planned, overlaps, volumes, {}), volumes_table(planned, volumes), overlaps


def measurements(metrics):
    """The rows of `tables/measurements.csv` of the volumes of these scored predictions."""
    identity = [*ROW_COLUMNS, "repeat_of"]
    tables = [
        metrics[identity].assign(
            **{name: getattr(quantity, name) for name in QUANTITY_COLUMNS},
            reference=metrics[quantity.reference].astype(float),
            predicted=metrics[quantity.predicted].astype(float),
            undefined="",
        )
        for quantity in QUANTITIES
        if quantity.reference in metrics and quantity.predicted in metrics
    ]
    return pd.concat(tables, ignore_index=True)


def volume_agreement(metrics, config, region=WHOLE):
    """The rows of the agreement on volumes of a region, with the unit in their names."""
    return volumes_of(agreement_table(measurements(metrics), config), region)


def unscored(metrics, reason="not predicted"):
    """The rows of `tables/unscored.csv`, as if the scores of these predictions were missing."""
    return metrics.assign(without_reason=reason)[list(UNSCORED_COLUMNS)].reset_index(drop=True)


def none_unscored():
    """The table of unscored predictions of a study with every planned score."""
    return unscored_table([], {}, {}, {})


def no_metrics():
    """The metrics table of a study without any reference."""
    return pd.DataFrame(columns=list(METRIC_COLUMNS))


def history(fold, epochs=200):
    """A learning curve as `train_fold` writes it: validation every tenth epoch."""
    generator = np.random.default_rng(fold)
    epoch = np.arange(1, epochs + 1)
    loss = 0.02 + 0.9 * np.exp(-epoch / (25 + 4 * fold)) + 0.006 * generator.random(epochs)
    dice = np.where(
        epoch % 10 == 0, 0.981 - 0.6 * np.exp(-epoch / 28) - 0.002 * generator.random(epochs), np.nan
    )
    return pd.DataFrame({"epoch": epoch, "loss": loss, "validation_dice": dice, "learning_rate": 1e-4})
