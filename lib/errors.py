"""The errors shown to users: each says what was expected, what was found and what to do."""


class OsteoflowError(Exception):
    """Base class of all deliberate errors. The text is shown to the user unchanged.

    The text never holds a source path or anything from a DICOM header that could name a person. Only a `TableError`
    quotes the cohort table, and `lib.joblog` keeps it out of logs.
    """


class ConfigError(OsteoflowError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class TableError(OsteoflowError):
    """The cohort table has problems; the text lists all of them with the wrong paths and values."""


class ScanError(OsteoflowError):
    """A scan, or a mask of it, cannot be used. `code` is one of the documented reason codes.

    `action` says what to do where the cause is more specific than the code; if empty, the code's own advice holds.
    """

    def __init__(self, code: str, message: str, action: str = "") -> None:
        super().__init__(code, message, action)  # all arguments, so that the error can be pickled
        self.code = code
        self.action = action

    def __str__(self) -> str:
        """Return the message alone."""
        return self.args[1]


class ModelError(OsteoflowError):
    """A finished model is missing, damaged, or was trained on differently preprocessed images."""


class TrainingError(OsteoflowError):
    """Training cannot go on (loss not finite, out of memory, nothing to train on)."""
