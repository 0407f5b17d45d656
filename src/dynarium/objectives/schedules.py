"""Schedules as data: a value as a function of the optimiser step, for objective weights and learning rates alike."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The same value at every step."""

    value: float

    def __call__(self, step: int | float) -> float:
        """Return the value at ``step``."""
        return self.value


@dataclass(frozen=True, kw_only=True)
class Linear:
    """From ``start`` to ``end`` linearly between steps ``begin`` and ``until``; constant outside.

    With ``begin == until`` it is a switch: ``start`` before that step, ``end`` from it on.
    """

    start: float
    end: float
    begin: int = 0
    until: int

    def __call__(self, step: int | float) -> float:
        """Return the value at ``step``."""
        if step < self.begin or self.begin == self.until:
            return self.start if step < self.begin else self.end
        return self.start + (self.end - self.start) * min(1.0, (step - self.begin) / (self.until - self.begin))


@dataclass(frozen=True, kw_only=True)
class Staircase:
    """``value * factor ** (step // every)``, never below ``floor``; reached linearly from 0 over ``warmup`` steps."""

    value: float
    factor: float
    every: int
    floor: float = 0.0
    warmup: int = 0

    def __call__(self, step: int | float) -> float:
        """Return the value at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * max(self.floor, self.value * self.factor ** (step // self.every))


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up from 0 to ``value`` over ``warmup`` steps, then a half cosine to ``end`` at step ``until``."""

    value: float
    end: float = 0.0
    warmup: int = 0
    until: int

    def __call__(self, step: int | float) -> float:
        """Return the value at ``step``."""
        if step < self.warmup:
            return self.value * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.until - self.warmup))
        return self.end + 0.5 * (self.value - self.end) * (1 + math.cos(math.pi * progress))


Schedule = Constant | Linear | Staircase | Cosine
"""Any schedule: call it with the step, or with ``math.inf`` for the value that it ends with."""
