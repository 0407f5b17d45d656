"""Checks of the numbers that configure a world."""

import math

from dynarium.errors import UserError


def check_positive(**values: float | int) -> None:
    """Raise a UserError that names the first value that is not positive and finite."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name}: expected a positive number, got {value}")


def check_not_negative(**values: float | int) -> None:
    """Raise a UserError that names the first value that is negative or not finite."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name}: expected a number of at least 0, got {value}")


def check_range(name: str, values: tuple[float, float], low: float = -math.inf) -> None:
    """Raise a UserError unless ``values`` is a finite (low, high) in order, not below ``low``."""
    if not (all(map(math.isfinite, values)) and low <= values[0] <= values[1]):
        least = "" if math.isinf(low) else f", at least {low}"
        raise UserError(f"{name}: expected two numbers in order{least}, got {values}")


def check_positive_range(**ranges: tuple[float, float]) -> None:
    """Raise a UserError that names the first range that is out of order or reaches zero."""
    for name, bounds in ranges.items():
        check_range(name, bounds)
        if bounds[0] <= 0:
            raise UserError(f"{name}: expected a range of positive numbers, got {bounds}")


def check_choice(name: str, value: str | int, known: tuple[str | int, str | int]) -> None:
    """Raise a UserError unless ``value`` is one of the two known ones."""
    if value not in known:
        raise UserError(f"{name}: expected {known[0]!r} or {known[1]!r}, got {value!r}")
