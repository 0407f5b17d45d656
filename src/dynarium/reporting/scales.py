"""Scales, ticks and their labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A scale from data to picture: ``low..high`` (in powers of ten where ``log``) onto ``start..end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float | int) -> float:
        """Return where a value lies in the picture, never beyond one picture's height outside the frame."""
        low, high, value = (_log(self.low), _log(self.high), _log(value)) if self.log else (self.low, self.high, value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(2.0, max(-1.0, share)) * (self.end - self.start)


def _log(value: float | int) -> float:
    return math.log10(value) if value > 0 else -300.0


def even_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round numbers in ``low..high``, about ``count`` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten in ``low..high``, with their doubles and fivefolds where that is a narrow stretch."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = math.log10(high / low) > 2.5
    stride = max(1, len(powers) // 6)
    ticks = [m * 10.0**p for p in powers for m in ((1,) if wide else (1, 2, 5)) if not wide or p % stride == 0]
    return [t for t in ticks if low <= t <= high] or [low, high]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Write ticks alike: thousands as k, and no more decimals than tell them apart."""
    if not ticks:
        return []
    largest = max(abs(t) for t in ticks)
    if largest >= 10_000:
        unit, letter = (1e6, "M") if largest >= 1e6 else (1e3, "k")
        return [f"{t / unit:.6g}{letter}" if t else "0" for t in ticks]
    smallest = min((abs(t) for t in ticks if t), default=1.0)
    if smallest >= 1e-4 and largest >= 1e4 * smallest:
        return [f"{t:g}" for t in ticks]
    if smallest < 1e-4:
        return [f"{t:.1e}".replace("e-0", "e-").replace(".0e", "e") if t else "0" for t in ticks]
    decimals = next((d for d in range(7) if all(abs(round(t, d) - t) < 1e-9 + 1e-6 * smallest for t in ticks)), 6)
    return [f"{t:.{decimals}f}".replace("-", "−") for t in ticks]
