"""Random actions for worlds that can be driven."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.systems.checks import check_choice, check_not_negative, check_positive

_WAVES = 4


@dataclass(frozen=True, kw_only=True)
class RandomActions:
    """Actions in ``[-largest, largest]``, one for each time step.

    Attributes:
        kind: ``smooth``: the mean of four sinusoids of random phase and period; ``steps``: a uniform draw, held.
        largest: Largest size of an action.
        hold: Time steps that a draw of ``steps`` is held, and half the shortest period of ``smooth``; the longest is four
            times that.
    """

    kind: Literal["smooth", "steps"] = "smooth"
    largest: float = 2.0
    hold: int = 10

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or an unknown kind.
        """
        check_positive(hold=self.hold)
        check_not_negative(largest=self.largest)
        check_choice("kind", self.kind, ("smooth", "steps"))

    def draw(self, n: int, steps: int, size: int, generator: torch.Generator) -> Float[Tensor, "b t a"]:
        """Draw the actions of ``n`` sequences."""
        options = {"dtype": torch.float64, "device": generator.device, "generator": generator}
        if self.kind == "steps":
            drawn = 2 * torch.rand(n, -(-steps // self.hold), size, **options) - 1
            return self.largest * drawn.repeat_interleave(self.hold, 1)[:, :steps]
        phase, speed = torch.rand(2, n, 1, size, _WAVES, **options)
        turns = torch.arange(steps, dtype=torch.float64, device=generator.device)[:, None, None] / (2 * self.hold)
        return self.largest * torch.sin(2 * torch.pi * (phase + turns * (0.25 + 0.75 * speed))).mean(-1)
