"""Terms of the report: which head of a card or table leads to which definition (report/page/definitions.html.j2)."""

from collections.abc import Mapping

from markupsafe import Markup

# head of a number without its unit -> end of the id of its definition
TERMS: Mapping[str, str] = {
    "n": "n",
    "DSC": "dsc",
    "lowest DSC": "dsc",
    "DSC native": "dsc-native",
    "DSC, native grid": "dsc-native",
    "SN": "sn",
    "SP": "sn",
    "Precision": "sn",
    "AUC-PR": "auc",
    "AUC-ROC": "auc",
    "HD": "hd95",
    "largest HD": "hd95",
    "HD95": "hd95",
    "ASSD": "assd",
    "NSD": "nsd",
    "MAE": "mae",
    "RMSE": "rmse",
    "Bias": "bias",
    "RE": "re",
    "Mean RE": "re",
    "MAPE": "re",
    "95 % limits": "loa",
    "Limits of agreement": "loa",
    "Lower limit": "loa",
    "Upper limit": "loa",
    "SD": "sd",
    "R²": "r2",
    "CCC": "ccc",
    "ICC": "ccc",
    "Trend": "trend",
    "Spread changes": "spread",
    "Member DSC": "member-dsc",
    "Mean entropy": "mean-entropy",
}


def term_link(head: str) -> Markup | str:
    """Return a head such as `MAE, cm³` as a link to its definition; unchanged if it has none."""
    term = TERMS.get(head) or TERMS.get(head.split(", ")[0])
    return Markup('<a class="term" href="#def-{}">{}</a>').format(term, head) if term else head
