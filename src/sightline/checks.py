"""Checks of a config's fields against each other, with an error that names both. They know no config in particular."""

from __future__ import annotations

__all__ = ["require_at_most", "require_multiple", "require_positive"]


def require_positive(config: object, names: str) -> None:
    """Each of the fields `names` (separated by spaces) is an integer of at least 1, or a ValueError names it."""
    for name in names.split():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, but is {value!r}")


def require_multiple(config: object, name: str, divisor: str) -> None:
    """Field `name` is a multiple of field `divisor`, or a ValueError names both with their values."""
    value, by = getattr(config, name), getattr(config, divisor)
    if value % by:
        raise ValueError(f"{name}={value} is not divisible by {divisor}={by}")


def require_at_most(config: object, name: str, limit: str) -> None:
    """Field `name` is not above field `limit`, or a ValueError names both with their values."""
    value, most = getattr(config, name), getattr(config, limit)
    if value > most:
        raise ValueError(f"{name}={value} is more than {limit}={most}")
