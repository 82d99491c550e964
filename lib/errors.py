"""The errors that a user may meet: each says what was expected, what came and what to do."""


class OsteoflowError(Exception):
    """Base of all errors raised on purpose. Its text is shown to the user as it is.

    The text never holds a source path or anything from a DICOM header that could name a person.
    """


class ConfigError(OsteoflowError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class TableError(OsteoflowError):
    """The cohort table has problems; the text lists all of them."""


class ScanError(OsteoflowError):
    """A scan, or a mask of it, cannot be used. `code` is one of the documented reason codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ModelError(OsteoflowError):
    """A finished model is missing, damaged, or was made for other input than is offered."""


class TrainingError(OsteoflowError):
    """Training cannot go on (loss not finite, out of memory, nothing to train on)."""
