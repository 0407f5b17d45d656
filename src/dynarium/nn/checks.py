"""Checks of the numbers that configure a network."""

from dynarium.errors import UserError


def check_widths(**widths: int | tuple[int, ...]) -> None:
    """Raise a UserError that names the first option of ``model.encoder`` with a layer of less than 1 unit."""
    for name, width in widths.items():
        if min(width if isinstance(width, tuple) else (width,), default=1) < 1:
            raise UserError(f"model.encoder.{name}: expected at least 1, got {width}")
