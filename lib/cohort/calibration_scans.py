"""What the cohort table says of scans that take the calibration of another one. Standard library only."""

from collections.abc import Iterable, Mapping

from lib.cohort.table import ScanRow


def table_refusal(row: ScanRow, source: ScanRow, most: float | None) -> dict[str, str]:
    """Return why the table forbids a scan to take the calibration of another one; empty if it does not.

    Args:
        row: the scan.
        source: its `calibration_scan`.
        most: largest difference of their `scan_order` (`calibration.max_scan_order_gap`); None: no limit.

    Returns:
        `reason`, a code of `lib.catalog.calibration.REFUSALS`, and `found`, in words.
    """
    if row.scanner and source.scanner and row.scanner != source.scanner:
        found = f"scanner {row.scanner}, and {source.scan} scanner {source.scanner}"
        return {"reason": "other_scanner", "found": found}
    if most is None:
        return {}
    if None in (row.scan_order, source.scan_order):
        missing = [one.scan for one in (row, source) if one.scan_order is None]
        return {"reason": "scan_order_unknown", "found": f"no scan_order of {' and '.join(missing)}"}
    gap = round(abs(row.scan_order - source.scan_order), 9)  # 0.4 - 0.1 is 0.3
    if gap <= most:
        return {}
    orders = f"scan_order {row.scan_order:g}, and {source.scan} {source.scan_order:g}"
    return {"reason": "scan_order_gap", "found": f"{orders}: a difference of {gap:g}; allowed are {most:g}"}


def is_one_scanner(row: ScanRow, source: ScanRow) -> bool:
    """Return whether the table says that two scans were made with one scanner."""
    return bool(row.scanner) and row.scanner == source.scanner


def first_of_each_image(scans: Iterable[str], digests: Mapping[str, str]) -> list[str]:
    """Return the scans without those whose image an earlier one has: two hips of one CT are one acquisition.

    Args:
        scans: ids.
        digests: of the scans' voxels, by scan (`cohort/digests.csv`); a scan without one has an image of its own.
    """
    firsts: dict[str, str] = {}
    return [scan for scan in scans if firsts.setdefault(digests.get(scan, scan), scan) == scan]
