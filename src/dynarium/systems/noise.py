"""Noise over the frames of a world: what a model of the world should ignore."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.overlays import hashed, picture_overlay, rolled, uniform_overlay
from dynarium.systems.checks import check_choice, check_not_negative
from dynarium.systems.pictures import Part, pictures

PARAMETERS = ("overlay a", "overlay b")
"""Two 24-bit numbers (which float32 holds) that say which overlays a sequence has."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Overlays added to the frames of a sequence: one for all its frames, a new one for each, or both (Sobal et al. 2022).

    At level 1 the brightest noise is as bright as the middle of a dot. An overlay is a pure function of the parameters of its
    sequence, and of the time step; the changing one also of the state. A planner, who asks for one frame at a time, sees what
    a whole sequence would show.

    Attributes:
        fixed: Level of the overlay that a sequence keeps.
        changing: Level of the overlay that each frame has of its own.
        source: ``uniform`` for U[0, 1) at each pixel; ``structured`` for made pictures with clouds and edges; or a folder, an
            ``.npz`` or an ``.npy`` file with pictures, which are made grey and cropped at random.
        speed: Pixels that the fixed overlay moves to the right in a step; frame t shows it moved by the whole part of t speed.
        part: Which of the pictures: those for ``train`` or those for ``test``. A stored dataset has the former in its training
            split only and the latter in the others.
        legacy: The levels count in the brightest pixel of the clean batch, as in the original, so that noise depends on which
            sequences are made together.
    """

    fixed: float = 0.0
    changing: float = 0.0
    source: str = "uniform"
    speed: float = 0.0
    part: Part = "train"
    legacy: bool = False

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A negative level or speed, or an unknown part.
        """
        check_not_negative(**{"noise.fixed": self.fixed, "noise.changing": self.changing, "noise.speed": self.speed})
        check_choice("noise.part", self.part, ("train", "test"))
        if not self.source:
            raise UserError("noise.source: expected 'uniform', 'structured', a folder or an .npz or .npy file, got ''")

    @property
    def level(self) -> float:
        """How bright the overlays can get together, in units of the middle of a dot."""
        return self.fixed + self.changing

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "b 2"]:
        """Draw which overlays each sequence has."""
        drawn = torch.randint(2**24, (n, 2), device=generator.device, generator=generator)
        return drawn.double()

    def add(
        self,
        frames: Float[Tensor, "b t k h w"],
        chosen: Float[Tensor, "b 2"],
        state: Float[Tensor, "b t n"],
        brightest: float,
        first: int = 0,
    ) -> Float[Tensor, "b t k h w"]:
        """Add the overlays, in place, each channel its own.

        Args:
            frames: Clean frames.
            chosen: What ``sample`` drew.
            state: The states that the frames show.
            brightest: Value of the middle of a dot.
            first: Step of the first frame.
        """
        steps, channels, height, width = frames.shape[1:]
        unit = frames.amax((0, 1, 3, 4), keepdim=True) if self.legacy else brightest
        one, other = chosen.long()[:, None, None].unbind(-1)
        channel = torch.arange(channels, device=frames.device)
        key, step = hashed(one, other, channel), torch.arange(first, first + steps, device=frames.device)
        if self.fixed:
            overlay = self._overlay(key[:, 0], height, width)
            moved = step[: steps if self.speed else 1] * self.speed
            frames += self.fixed * unit * rolled(overlay, moved.long())
        if self.changing:
            place = state.float().contiguous().view(torch.int32)
            when = hashed(step + 1, *place.unbind(-1))
            frames += self._overlay(hashed(key, when[..., None]), height, width).mul_(self.changing * unit)
        return frames

    def _overlay(self, key: Int[Tensor, "*b"], height: int, width: int) -> Float[Tensor, "*b h w"]:
        if self.source == "uniform":
            return uniform_overlay(key, height, width)
        images = pictures(self.source, max(height, width), self.part, str(key.device))
        return picture_overlay(key, images, height, width)
