"""Whose a synthetic scan is: every attribute that could identify a person holds a canary text.

Tests search results for that text.
"""

from pydicom.dataset import Dataset

from lib.phantom.people import PhantomPerson, derive_uid

CANARY = "CANARY"
_SERIES_NUMBERS = {"localizer": 1, "main": 2, "second": 3, "subtraction": 4}


def add_identity(dataset: Dataset, person: PhantomPerson, series: str) -> None:
    """Fill every attribute that could name a person, a place or a day with a canary."""
    dataset.PatientName = f"{CANARY}^{person.subject}"
    dataset.PatientID = f"{CANARY}-ID-{person.subject}"
    dataset.PatientBirthDate = "19010203"
    dataset.PatientSex = person.sex
    dataset.PatientAge = f"{person.age:03d}Y"
    dataset.PatientAddress = f"{CANARY} Street 1"
    dataset.PatientComments = f"{CANARY} comment"
    dataset.InstitutionName = f"{CANARY} Hospital"
    dataset.InstitutionAddress = f"{CANARY} Square 2"
    dataset.InstitutionalDepartmentName = f"{CANARY} Department"
    dataset.ReferringPhysicianName = f"{CANARY}^Referrer"
    dataset.PerformingPhysicianName = f"{CANARY}^Performer"
    dataset.OperatorsName = f"{CANARY}^Operator"
    dataset.StationName = f"{CANARY}STATION"
    dataset.DeviceSerialNumber = f"{CANARY}-SERIAL"
    dataset.AccessionNumber = f"{CANARY}ACC"
    dataset.StudyID = f"{CANARY}STUDY"
    dataset.ProtocolName = f"{CANARY} protocol"
    dataset.StudyDescription = f"{CANARY} study"
    dataset.SeriesDescription = f"{CANARY} series {series}"
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, name, f"{person.scan_date:%Y%m%d}")
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, name, "030405.000000")
    dataset.StudyInstanceUID = derive_uid(person, "study")
    dataset.SeriesInstanceUID = derive_uid(person, "series", series)
    dataset.FrameOfReferenceUID = derive_uid(person, "frame")
    dataset.SeriesNumber = _SERIES_NUMBERS[series]
