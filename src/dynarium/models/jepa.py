"""Joint-embedding predictive world models on short clips (Sobal et al. 2022, arXiv:2211.10831, and what came after).

Every frame is encoded, and a GRU that starts from the first encoding and reads only the actions predicts the others:

    e_t = enc(x_t),   p_0 = e_0,   p_{t+1} = GRU(p_t, a_t)

No pixel is reconstructed. The loss is a weighted sum of groups, each of which may be absent:

    prediction |p_t - e_t|^2 (to an exponential moving average of the encoder with ``target``)
    regulariser: VICReg, SIGReg, contrast across sequences or within a trajectory
    inverse dynamics, similarity of consecutive encodings, decoding, supervised positions
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.jepa_terms import Decoding, InverseDynamics, Regularizer, Terms, VICReg, mlp
from dynarium.models.normalization import Normalization
from dynarium.models.pixels import seen_frames
from dynarium.nn.encoders import DQN, LeNet5, Perceptron, Pixels, ResNet18
from dynarium.nn.frames import full_precision
from dynarium.nn.gru import OpenLoopGRU
from dynarium.nn.impala import Impala
from dynarium.nn.menet import MeNet, MeNet5Decoder
from dynarium.objectives.collapse import effective_rank, mean_correlation, relative_to_copying
from dynarium.objectives.schedules import Constant, Schedule
from dynarium.objectives.temporal import temporal_similarity
from dynarium.objectives.vicreg import similarity, standard_deviation
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class JEPAConfig:
    """Options of the joint-embedding models. A weight of zero or an absent group adds nothing to the loss.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        position: Dimension of the state; taken from the data where ``supervised`` needs it.
        embedding: Dimension d of the encodings.
        encoder: Which network encodes a frame.
        head: Widths of a perceptron on top of the encoder: the first is how many outputs the encoder itself has, the others are
            hidden layers; after them comes a linear layer with ``embedding`` outputs. None: the encoder has these.
        predictor: ``gru``, ``mlp``: p + MLP(p, a), step by step, which begins as p, or ``identity``: p_t = e_0 (a baseline).
        layers: Layers of the GRU; of the MLP, hidden ones.
        projector: Widths of a projector in front of the regulariser; none: the encodings themselves.
        projector_frozen: The projector stays as drawn.
        prediction: Weight of the squared error of the predictions.
        growth: Share of that weight, as a function of the step. A large weight from the first step on keeps out of the
            encodings what is hard to predict at first.
        reach: Steps that its predictions reach, from every frame that has so many after it; ``None``: from the first frame
            to the last. What happens far from the beginning of a clip is then also predicted from a picture of shortly before.
        predict_projected: The squared error is taken after the projector.
        stop_gradient: No gradient of the squared error reaches the encoder of the targets.
        target: Decay of a moving average of the encoder that gives the targets, as a function of the step; implies
            ``stop_gradient``. ``None``: the encoder itself.
        regularizer: What keeps the (projected) encodings from collapsing.
        encoding_regularizer: The same on the encodings in front of the projector.
        inverse_dynamics: Reading actions off the encodings.
        temporal: Weight of the similarity of consecutive encodings.
        decoding: Decoding frames.
        supervised: Weight of the squared error of the states read off the roll-out by a linear map: the lower bound that
            labels would give.
    """

    frame: tuple[int, int, int] = (1, 28, 28)
    control: int = 2
    position: int = 0
    embedding: int = 512
    encoder: MeNet | Impala | ResNet18 | DQN | LeNet5 | Perceptron | Pixels = MeNet()  # noqa: RUF009 (frozen)
    head: tuple[int, ...] = ()
    predictor: Literal["gru", "mlp", "identity"] = "gru"
    layers: int = 1
    projector: tuple[int, ...] = ()
    projector_frozen: bool = False
    prediction: float = 20.0
    growth: Schedule = Constant(value=1.0)
    reach: int | None = None
    predict_projected: bool = False
    stop_gradient: bool = False
    target: Schedule | None = None
    regularizer: Regularizer | None = VICReg()  # noqa: RUF009
    encoding_regularizer: Regularizer | None = None
    inverse_dynamics: InverseDynamics | None = None
    temporal: float = 0.0
    decoding: Decoding | None = None
    supervised: float = 0.0

    def __post_init__(self) -> None:
        for name in ("embedding", "layers"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("prediction", "temporal", "supervised"):
            if getattr(self, name) < 0:
                raise UserError(f"model.{name}: expected a weight of at least 0, got {getattr(self, name)}")
        if self.predict_projected and not self.projector:
            raise UserError("model.predict_projected: there is no model.projector")
        if self.reach is not None and (self.reach < 1 or self.predict_projected):
            raise UserError(f"model.reach: expected at least 1, and no model.predict_projected, got {self.reach}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "JEPAConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data lacks the field ``video`` or ``action``, or ``state`` where it is learned from.
        """
        wanted = ("video", "action", "state") if self.supervised else ("video", "action")
        for name in wanted:
            if name not in shapes:
                raise UserError(f"jepa needs the field {name!r}; the data has {', '.join(shapes) or 'no fields'}")
        _, c, h, w = shapes["video"]
        position = shapes["state"][-1] if self.supervised else 0
        return replace(self, frame=(c, h, w), control=shapes["action"][-1], position=position)

    def build(self) -> "JEPA":
        """Create the model."""
        return JEPA(self)


class JEPA(nn.Module):
    """The joint-embedding model. See ``JEPAConfig`` for its options and the module for the objective."""

    def __init__(self, config: JEPAConfig) -> None:
        super().__init__()
        self.config = config
        d = config.embedding
        self.normalization = Normalization(config.frame[0], config.control, config.position)
        backbone = config.encoder.build(config.frame, config.head[0] if config.head else d)
        self.encoder = nn.Sequential(backbone, mlp((*config.head, d), bias=False)) if config.head else backbone
        self.target = copy.deepcopy(self.encoder).requires_grad_(False) if config.target else None
        self.gru = OpenLoopGRU(config.control, d, config.layers) if config.predictor == "gru" else None
        self.residual = _residual(config) if config.predictor == "mlp" else None
        self.projector = mlp((d, *config.projector), bias=False) if config.projector else None
        if self.projector is not None and config.projector_frozen:
            self.projector.requires_grad_(False)
        inverse = config.inverse_dynamics
        self.inverse = mlp((2 * d, *inverse.hidden, config.control)) if inverse else None
        decoding = config.decoding
        self.decoder = MeNet5Decoder(config.frame, d, decoding.width) if decoding else None
        self.positions = nn.Linear(d, config.position) if config.supervised else None

    def prepare(self, batches: Iterable[SequenceBatch], seed: int = 0) -> list[float]:
        """Measure the spread of frames, actions and states. Nothing is maximised."""
        self.normalization.measure(batches, "jepa")
        return []

    # ---- the parts -------------------------------------------------------------------------------------------------

    def encoded(self, video: Shaped[Tensor, "b t c h w"], by: nn.Module | None = None) -> Float[Tensor, "b t d"]:
        """Return the encodings of all frames, which share the statistics of the batch normalisation."""
        frames = self.normalization.frames(video).flatten(0, 1)
        return full_precision((self.encoder if by is None else by)(frames)).unflatten(0, video.shape[:2])

    def rolled(self, start: Float[Tensor, "b d"], action: Shaped[Tensor, "b f a"]) -> Float[Tensor, "b f d"]:
        """Return the open-loop predictions, one an action."""
        if action.shape[-1] != self.config.control:
            raise UserError(f"action: {self.config.control} values a step wanted, got {action.shape[-1]}")
        u = self.normalization.actions(action)
        if self.gru is not None:
            return self.gru(start, u)
        if self.residual is None:
            return start[:, None].expand(-1, u.shape[1], -1)
        states = [start]
        for i in range(u.shape[1]):
            states.append(states[-1] + full_precision(self.residual(torch.cat([states[-1], u[:, i]], -1))))
        return torch.stack(states[1:], 1)

    def projected(self, z: Float[Tensor, "b t d"]) -> Float[Tensor, "b t e"]:
        """Return what the regulariser sees."""
        if self.projector is None:
            return z
        return full_precision(self.projector(z.flatten(0, 1))).unflatten(0, z.shape[:2])

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the weighted sum of the configured terms, and the terms without their weights.

        Diagnostics of a collapse stand beside them. Of the last step: ``feature_std``, the standard deviation of a dimension
        over the batch, and ``copying_ratio``, the error of the prediction over that of repeating the first encoding. Of all
        frames, in eval mode: ``effective_rank`` and ``feature_correlation``.

        Under data-parallel training every regulariser sees the batch of all processes; the batch normalisation of the
        encoder sees that of its own.

        Raises:
            UserError: The batch lacks a field, or has steps that are not observed.
        """
        video, action = self._fields(batch)
        if not self._learns():
            return sum((0.0 * p.sum() for p in self.parameters() if p.requires_grad), torch.zeros(())), {}
        if self.target is not None and self.training:
            self._follow(step)
        e = self.encoded(video)
        p = self.rolled(e[:, 0], action)
        targets = e[:, 1:]
        if self.target is not None:
            with torch.no_grad():
                targets = self.encoded(video, self.target)[:, 1:]
        terms = self._terms(batch, action, e, p, targets, step)
        with torch.autocast(e.device.type, enabled=False):
            loss = sum((weight * value for weight, value in terms.values()), e.new_zeros(()))
        named = {name: value.detach() for name, (_, value) in terms.items()}
        return loss, named | self._diagnostics(e.detach(), p.detach(), targets.detach())

    def _terms(self, batch: SequenceBatch, action: Tensor, e: Tensor, p: Tensor, targets: Tensor, step: int) -> Terms:
        config, terms, seed = self.config, Terms(), step if self.training else 0
        prediction = config.prediction * config.growth(step if self.training else math.inf)
        projected = (self.projected(e), self.projected(p)) if self.projector else (e, p)
        inverse = self._inverse(e, p, action) if self.inverse else None
        decoded = self._decoded(e, p) if self.decoder else None
        with torch.autocast(e.device.type, enabled=False):  # differences of large sums want float32
            if config.prediction:
                predictions = projected[1] if config.predict_projected else p
                if config.predict_projected:
                    targets = self.projected(targets) if self.target else projected[0][:, 1:]
                targets = targets.detach() if config.stop_gradient or self.target else targets
                if config.reach is not None:
                    predictions, targets = self._from_every_frame(e, action, targets, config.reach)
                terms["prediction"] = (prediction, similarity(predictions, targets))
            if config.regularizer is not None:
                terms |= config.regularizer.terms(*projected, seed)
            if config.encoding_regularizer is not None:
                more = config.encoding_regularizer.terms(e, p, seed)
                terms |= {f"encoding_{name}": term for name, term in more.items()}
            if config.temporal:
                terms["temporal"] = (config.temporal, temporal_similarity(e))
            if inverse is not None and config.inverse_dynamics is not None:
                wanted = self.normalization.actions(action)
                terms["inverse_dynamics"] = (
                    config.inverse_dynamics.weight,
                    similarity(full_precision(inverse), wanted),
                )
            if decoded is not None and config.decoding is not None and batch.video is not None:
                frames = self.normalization.frames(batch.video)
                terms["decoding"] = (config.decoding.weight, similarity(decoded, frames))
            if self.positions is not None and batch.state is not None:
                read = self.positions(torch.cat([e[:, :1], p], 1))
                terms["supervised"] = (config.supervised, similarity(read, self.normalization.states(batch.state)))
        return terms

    def _from_every_frame(self, e: Tensor, action: Tensor, targets: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """Return the predictions [n, reach, d] that start from every frame but the last ones, and their targets."""
        if action.shape[1] < reach:
            raise UserError(f"model.reach: expected at most the {action.shape[1]} actions of a clip, got {reach}")
        starts = e[:, : action.shape[1] - reach + 1]
        following, wanted = (x.unfold(1, reach, 1).transpose(-1, -2).flatten(0, 1) for x in (action, targets))
        return self.rolled(starts.flatten(0, 1), following), wanted

    def _inverse(self, e: Tensor, p: Tensor, action: Tensor) -> Tensor:
        assert self.inverse is not None and self.config.inverse_dynamics is not None
        before = e[:, :-1]
        if self.config.inverse_dynamics.between == "rollout":
            before = torch.cat([e[:, :1], p[:, :-1]], 1)
        return self.inverse(torch.cat([before, e[:, 1:]], -1).flatten(0, 1)).unflatten(0, action.shape[:2])

    def _decoded(self, e: Tensor, p: Tensor) -> Tensor:
        assert self.decoder is not None and self.config.decoding is not None
        z = e if self.config.decoding.of == "encodings" else torch.cat([e[:, :1], p], 1)
        z = z.detach() if self.config.decoding.detached else z
        return full_precision(self.decoder(z.flatten(0, 1))).unflatten(0, z.shape[:2])

    def _diagnostics(self, e: Tensor, p: Tensor, targets: Tensor) -> dict[str, Tensor]:
        last = slice(-1, None)
        with torch.autocast(e.device.type, enabled=False):  # a correlation in bfloat16 has two digits
            found = {
                "feature_std": standard_deviation(e[:, -1]),
                "copying_ratio": relative_to_copying(p[:, last], targets[:, last], e[:, 0]),
            }
            if not self.training:
                frames = e.flatten(0, 1)
                found |= {"effective_rank": effective_rank(frames), "feature_correlation": mean_correlation(frames)}
        return found

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the weights of the target encoder towards those of the encoder; its running statistics are its own."""
        assert self.target is not None and self.config.target is not None
        decay = self.config.target(step)
        for mine, theirs in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)

    def _learns(self) -> bool:
        config = self.config
        groups = (config.regularizer, config.encoding_regularizer, config.inverse_dynamics, config.decoding)
        return bool(config.prediction or config.temporal or config.supervised or any(g is not None for g in groups))

    def _fields(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        if batch.video is None or batch.action is None or (self.config.supervised and batch.state is None):
            wanted = "'video', 'action' and 'state'" if self.config.supervised else "'video' and 'action'"
            raise UserError(f"jepa needs {wanted}; the batch has {', '.join(batch.present()) or 'no fields'}")
        video, mask = seen_frames(batch, self.config.frame, "jepa")
        if mask is not None:
            raise UserError("mask: jepa trains on whole sequences, and some steps of the batch are not observed")
        if video.shape[1] < 2 or batch.action.shape[1] < video.shape[1] - 1:
            raise UserError(
                f"video: at least 2 frames and an action between any two wanted, got {video.shape[1]} frames"
            )
        return video, batch.action[:, : video.shape[1] - 1]

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, video: Shaped[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Return the encodings of the frames."""
        return self.encoded(video)

    def imagine(self, start: Float[Tensor, "b d"], action: Shaped[Tensor, "b f a"]) -> Float[Tensor, "b f d"]:
        """Return the open-loop predictions from an encoding, one an action; differentiable in both."""
        return full_precision(self.rolled(start, action))

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the encodings ``z``; frames that are hidden are encoded as dark ones."""
        return {"z": self.embed(seen_frames(batch, self.config.frame, "jepa")[0])}

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b t d"]) -> Float[Tensor, "b t c h w"]:
        """Return the frames of encodings or predictions, in [0, 1].

        Raises:
            UserError: The model has no decoder.
        """
        if self.decoder is None:
            raise UserError("decode: this model has no decoder; train it with model.decoding")
        return self.normalization.pixels(full_precision(self.decoder(z.flatten(0, 1))).unflatten(0, z.shape[:2]))


def _residual(config: JEPAConfig) -> nn.Sequential:
    """Return the residual of the predictor. Without batch normalisation: the statistics of its steps differ."""
    d = config.embedding
    layers = mlp((d + config.control, *[d] * config.layers, d), normalized=False)
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers
