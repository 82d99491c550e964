"""Makers of scanners by one short name each, and how headers spell them. Standard library only."""

import re
from collections.abc import Mapping

OTHER = "other"
# Words of the DICOM element Manufacturer by which a maker is known. Each entry is a run of whole words, in lower case
# and without punctuation. The spellings occur in public series: SIEMENS, SIEMENS NM, Siemens HealthCare GmbH, Siemens
# Healthineers; GE MEDICAL SYSTEMS, GE_MEDICAL_SYSTEMS, G.E. Medical Systems, GE Healthcare, GEHC, GEMS; Philips
# Medical Systems; TOSHIBA_MEC, TOSHIBA, CANON_MEC (Canon bought Toshiba's medical branch in 2016); UIH.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "siemens": ("siemens",),
    "ge": ("ge", "g e", "gehc", "gems", "general electric", "general electrics"),
    "philips": ("philips",),
    "canon": ("canon", "toshiba"),
    "united-imaging": ("uih", "united imaging"),
}
VENDORS = (*_SPELLINGS, OTHER)


def vendor_of(manufacturer: str | None) -> str:
    """Return the short name of a scanner's maker, one of VENDORS; empty if the header does not state it.

    Args:
        manufacturer: the DICOM element Manufacturer, as `lib.reading.acquisition` keeps it.
    """
    words = " ".join(re.findall(r"[^\W_]+", (manufacturer or "").casefold()))
    if not words:
        return ""
    found = (name for name, runs in _SPELLINGS.items() if any(f" {run} " in f" {words} " for run in runs))
    return next(found, OTHER)
