"""SVG': stochastic video generation with convolutional LSTMs (after Villegas et al. 2019, arXiv:1911.01655).

The model, its loss and its questions are those of SVG (``models/svg.py``). What differs is that encodings are maps at an
eighth of the frame's side, h in [-1, 1]^{g x 8 x 8} for 64 pixels, and that every LSTM is convolutional, so that where
things are in the picture needs not pass through a vector. The latent stays a vector z, read off means over maps and spread
over the grid. Sizes are ours, a laptop's.
"""

from dataclasses import dataclass
from typing import Literal

from dynarium.errors import UserError
from dynarium.models.pixels import fitted_to_frames
from dynarium.models.svg import SVG, check_skips
from dynarium.models.video import check_positive, numbers_of_actions
from dynarium.nn.conv_lstm import GaussianConvLSTM, PredictorConvLSTM
from dynarium.nn.frame_layers import Statistics
from dynarium.nn.grid_coders import STAGES, GridDecoder, GridEncoder, grid_of
from dynarium.objectives.schedules import Constant, Schedule


@dataclass(frozen=True, kw_only=True)
class SVGPrimeConfig:
    """Options of SVG'.

    Attributes:
        frame: (channels, height, width), sides multiples of 8; taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        prior: ``learned``, ``fixed`` to N(0, I), or ``none``: a deterministic predictor.
        width: Channels of the first stage of the encoder.
        embedding: Channels of the maps h.
        latent: Dimension of z.
        hidden: Channels of every convolutional LSTM.
        predictor_layers: Layers of the predictor's LSTM.
        context: First frames of a training sequence whose skip connections may be used.
        last_frame_skip: Skip connections come of the frame before the predicted one.
        skips: ``mended`` or ``paper``, as in SVG.
        statistics: What batch normalisation uses outside of training, or ``frame``: group normalisation, as in SVG.
        actions: What predictor and prior know of the action that leads into the frame.
        action_width: Width and dimension of the embedding of actions.
        beta: Weight of the KL as a function of the step.
    """

    frame: tuple[int, int, int] = (1, 64, 64)
    control: int = 0
    prior: Literal["learned", "fixed", "none"] = "learned"
    width: int = 32
    embedding: int = 32
    latent: int = 10
    hidden: int = 64
    predictor_layers: int = 2
    context: int = 5
    last_frame_skip: bool = False
    skips: Literal["mended", "paper"] = "mended"
    statistics: Statistics = "running"
    actions: Literal["none", "raw", "embedded"] = "none"
    action_width: int = 32
    beta: Schedule = Constant(value=1e-4)

    def __post_init__(self) -> None:
        check_positive(self, "width", "embedding", "latent", "hidden", "predictor_layers", "context", "action_width")
        check_skips(self)
        if any(side < 1 or side % 2**STAGES for side in self.frame[1:]):
            raise UserError(f"model.frame: sides that are multiples of 8 wanted, got {self.frame[1]}x{self.frame[2]}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SVGPrimeConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``, or frames of another side.
        """
        return fitted_to_frames(self, shapes, "svg-prime")

    def build(self) -> SVG:
        """Create the model.

        Raises:
            UserError: Actions are wanted and the data has none.
        """
        u, z = (
            numbers_of_actions(self.actions, self.control, self.action_width),
            0 if self.prior == "none" else self.latent,
        )
        grid = grid_of(self.frame, self.embedding)
        sizes = (self.frame, self.embedding, self.width, self.statistics)
        recurrent = {
            "posterior": GaussianConvLSTM(grid, 0, z, self.hidden, 1) if z else None,
            "prior": GaussianConvLSTM(grid, u, z, self.hidden, 1) if self.prior == "learned" else None,
        }
        predictor = PredictorConvLSTM(grid, u + z, self.hidden, self.predictor_layers)
        return SVG(self, GridEncoder(*sizes), GridDecoder(*sizes), predictor, **recurrent)
