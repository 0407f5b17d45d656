"""Input signals that excite a system so that it can be identified."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_not_negative, check_positive, check_range
from dynarium.systems.draws import Range, uniform

_KINDS = ("white", "multisine", "chirp", "prbs", "steps")


@dataclass(frozen=True, kw_only=True)
class Excitation:
    """Random input signals of a given mean and standard deviation (Pintelon & Schoukens 2012, chapter 5).

    ``white``: Gaussian, independent at every step. ``multisine``: a sum of all harmonics of the sequence within the band,
    equal amplitudes, random phases. ``chirp``: a sine of random first phase whose frequency rises linearly through the band.
    ``prbs``: two levels, a random sign drawn every ``hold`` steps. ``steps``: Gaussian levels, the time at each geometric
    with mean ``hold``.

    Attributes:
        kind: Kind of signal.
        mean: Mean of the signal.
        std: Standard deviation.
        band: Lowest and highest frequency of ``multisine`` and ``chirp`` as a share of half the sampling frequency.
        hold: Steps between two draws of ``prbs``, and on average of ``steps``.
    """

    kind: Literal["white", "multisine", "chirp", "prbs", "steps"] = "white"
    mean: float = 0.0
    std: float = 1.0
    band: Range = (0.0, 1.0)
    hold: int = 10

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or an unknown kind.
        """
        if self.kind not in _KINDS:
            raise UserError(f"kind: expected one of {', '.join(_KINDS)}, got {self.kind!r}")
        check_positive(hold=self.hold)
        check_not_negative(std=self.std)
        check_range("band", self.band, low=0.0)
        if self.band[1] > 1 or self.band[0] == self.band[1]:
            raise UserError(f"band: expected two different shares of at most 1, got {self.band}")

    def draw(self, n: int, steps: int, size: int, generator: torch.Generator) -> Float[Tensor, "b t a"]:
        """Draw the inputs of ``n`` sequences.

        Raises:
            UserError: No harmonic of a sequence of so many steps lies in the band.
        """
        shape, device = (n, steps, size), generator.device
        if self.kind == "white":
            # In single precision, as datasets store it: the stored input is exactly the one that acted.
            signal = torch.randn(shape, device=device, generator=generator).double()
        elif self.kind == "prbs":
            drawn = torch.rand(n, -(-steps // self.hold), size, device=device, generator=generator) < 0.5
            signal = (2.0 * drawn - 1).double().repeat_interleave(self.hold, 1)[:, :steps]
        elif self.kind == "steps":
            levels = torch.randn(shape, dtype=torch.float64, device=device, generator=generator)
            jumps = torch.rand(shape, device=device, generator=generator) < 1 / self.hold
            since = torch.where(jumps, torch.arange(steps, device=device)[:, None], 0).cummax(1).values
            signal = levels.gather(1, since)
        elif self.kind == "chirp":
            phase = 2 * torch.pi * uniform((0.0, 1.0), (n, 1, size), generator)
            t = torch.arange(steps, dtype=torch.float64, device=device)[:, None]
            low, high = self.band
            signal = 2**0.5 * torch.sin(phase + torch.pi * (low * t + (high - low) * t**2 / (2 * max(steps - 1, 1))))
        else:
            signal = self._multisine(n, steps, size, generator)
        return self.mean + self.std * signal

    def _multisine(self, n: int, steps: int, size: int, generator: torch.Generator) -> Tensor:
        phase = 2 * torch.pi * uniform((0.0, 1.0), (n, steps // 2 + 1, size), generator)
        harmonic = torch.arange(steps // 2 + 1, device=generator.device)
        share = 2 * harmonic / steps
        # Neither the mean nor half the sampling frequency, whose power would depend on the phase.
        inside = (share >= self.band[0]) & (share <= self.band[1]) & (harmonic > 0) & (2 * harmonic < steps)
        count = int(inside.sum())
        if not count:
            raise UserError(f"band: no harmonic of {steps} steps lies within {self.band}")
        amplitude = steps * (0.5 / count) ** 0.5 * inside[:, None]
        return torch.fft.irfft(torch.polar(amplitude.double().expand(phase.shape), phase), n=steps, dim=1)
