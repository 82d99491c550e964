"""How the settings of this package report a value that is not allowed."""

from lib.errors import ConfigError


def require(allowed: bool, key: str, value: object, expected: str) -> None:
    """Raise a `ConfigError` that names the setting, its value and what is expected, unless `allowed`."""
    if not allowed:
        raise ConfigError(f"{key}: {value!r} is not allowed; expected {expected}")


def is_count(value: object, least: int = 1) -> bool:
    """Tell whether `value` is an integer (not a truth value) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
