"""Stochastic video generation (Denton & Fergus 2018, arXiv:1802.07687): frame after frame, with a latent for what chance does.

    h_t, skips = enc(x_t)
    posterior  q(z_t | x_1..t)   = N(m_t, v_t)    from an LSTM over h_1 .. h_t
    prior      p(z_t | x_0..t-1) = N(m'_t, v'_t)  from an LSTM over h_0 .. h_{t-1} (SVG-LP),  or N(0, I) (SVG-FP)
    x^_t = dec(LSTM([h_{t-1}, a_{t-1}, z_t]), skips)

    loss = sum_t |x^_t - x_t|^2 / (c h w) + beta KL(q || p)

Training is teacher-forced: every frame is predicted from the true ones before it, those of the context too. So nothing but
the LSTMs is recurrent: all frames are encoded at once and each once, every LSTM runs over the whole sequence in one call,
and all predictions are decoded at once; batch normalisation sees the frames of one step as a batch, as it does when a
network is called step by step. The skip connections are those of the last frame of the context, or of the frame before.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import fitted_to_frames, leading_actions
from dynarium.models.video import (
    FRAMES_AT_ONCE,
    Backbone,
    Beliefs,
    check_batch,
    check_frames,
    check_positive,
    coders,
    compares,
    decoded_steps,
    draw_weights,
    drawn,
    encoded_steps,
    held_frames,
    leading_into,
    numbers_of_actions,
)
from dynarium.nn.frame_layers import Statistics
from dynarium.nn.frames import full_precision
from dynarium.nn.lstm import GaussianLSTM, PredictorLSTM, expanded
from dynarium.objectives.gaussians import gaussian_kl
from dynarium.objectives.schedules import Constant, Schedule
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class SVGConfig:
    """Options of stochastic video generation; the defaults are those of SVG-LP on moving digits.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        prior: ``learned`` (SVG-LP), ``fixed`` to N(0, I) (SVG-FP), or ``none``: no latent, a deterministic predictor.
        backbone: Encoder and decoder: ``dcgan`` (sides 32, 56, 64, 128) or ``vgg`` (64, 128).
        width: Channels of the first stage of the encoder.
        embedding: Dimension of the encodings h.
        latent: Dimension of z.
        hidden: Units of every LSTM.
        predictor_layers: Layers of the predictor's LSTM.
        posterior_layers: Layers of the posterior's LSTM.
        prior_layers: Layers of the prior's LSTM.
        context: First frames of a training sequence whose skip connections may be used.
        last_frame_skip: Skip connections come of the frame before the predicted one, be it a predicted one itself.
        skips: ``mended``: without ``last_frame_skip``, those of the last context frame serve all frames after the context.
            ``paper``: those of the last but one, as in the authors' code.
        statistics: What batch normalisation uses outside of training: the averages of training (``running``) or the mean and
            variance of the batch (``batch``), as in the authors' code; answers then depend on what else is in the batch.
            ``frame``: group normalisation instead (Wu & He 2018), of each frame by itself, in training as well.
        actions: What predictor and prior know of the action that leads into the frame: nothing, its values, or a learned
            embedding of it.
        action_width: Width and dimension of that embedding.
        beta: Weight of the KL as a function of the step.
    """

    frame: tuple[int, int, int] = (1, 64, 64)
    control: int = 0
    prior: Literal["learned", "fixed", "none"] = "learned"
    backbone: Backbone = "dcgan"
    width: int = 64
    embedding: int = 128
    latent: int = 10
    hidden: int = 256
    predictor_layers: int = 2
    posterior_layers: int = 1
    prior_layers: int = 1
    context: int = 5
    last_frame_skip: bool = False
    skips: Literal["mended", "paper"] = "mended"
    statistics: Statistics = "running"
    actions: Literal["none", "raw", "embedded"] = "none"
    action_width: int = 32
    beta: Schedule = Constant(value=1e-4)

    def __post_init__(self) -> None:
        layers = ("predictor_layers", "posterior_layers", "prior_layers")
        check_positive(self, "width", "embedding", "latent", "hidden", *layers, "context", "action_width")
        check_frames(self.frame, self.backbone)
        check_skips(self)

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SVGConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``, or no ``action`` where one is wanted, or frames of another side.
        """
        return fitted_to_frames(self, shapes, "svg")

    def build(self) -> "SVG":
        """Create the model.

        Raises:
            UserError: Actions are wanted and the data has none.
        """
        g, z = self.embedding, self.latent
        parts: dict[str, nn.Module] = {}
        u = numbers_of_actions(self.actions, self.control, self.action_width)
        parts["encoder"], parts["decoder"] = coders(self.backbone, self.frame, g, g, self.width, self.statistics)
        if self.prior != "none":
            parts["posterior"] = GaussianLSTM(g, z, self.hidden, self.posterior_layers)
        if self.prior == "learned":
            parts["prior"] = GaussianLSTM(g + u, z, self.hidden, self.prior_layers)
        inputs = g + u + (0 if self.prior == "none" else z)
        return SVG(self, **parts, predictor=PredictorLSTM(inputs, g, self.hidden, self.predictor_layers))


@runtime_checkable
class SVGOptions(Protocol):
    """What SVG needs to know besides its networks; see ``SVGConfig``."""

    @property
    def frame(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def control(self) -> int: ...  # noqa: D102
    @property
    def prior(self) -> Literal["learned", "fixed", "none"]: ...  # noqa: D102
    @property
    def latent(self) -> int: ...  # noqa: D102
    @property
    def context(self) -> int: ...  # noqa: D102
    @property
    def last_frame_skip(self) -> bool: ...  # noqa: D102
    @property
    def skips(self) -> Literal["mended", "paper"]: ...  # noqa: D102
    @property
    def statistics(self) -> Statistics: ...  # noqa: D102
    @property
    def actions(self) -> Literal["none", "raw", "embedded"]: ...  # noqa: D102
    @property
    def action_width(self) -> int: ...  # noqa: D102
    @property
    def beta(self) -> Schedule: ...  # noqa: D102


def check_skips(config: SVGOptions) -> None:
    """Check that some frame of the context gives the skip connections.

    Raises:
        UserError: None does.
    """
    if config.skips == "paper" and not config.last_frame_skip and config.context < 2:
        raise UserError("model.skips: 'paper' needs a model.context of at least 2, as it never uses its last frame's")


class SVG(nn.Module):
    """Stochastic video generation. See ``SVGConfig`` for its options and the module for the model.

    Args:
        config: The options that matter once there are networks.
        encoder: Frames of a number of steps to vectors and skip connections.
        decoder: The way back.
        predictor: A recurrent network from sequences [h, a, z] to sequences of vectors to decode.
        posterior: A recurrent network from sequences of h to means and log-variances; ``None`` without latents.
        prior: The same from [h, a]; ``None``: N(0, I).
    """

    def __init__(
        self,
        config: SVGOptions,
        encoder: nn.Module,
        decoder: nn.Module,
        predictor: nn.Module,
        posterior: nn.Module | None = None,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.decoder, self.predictor = config, encoder, decoder, predictor
        self.posterior, self.prior = posterior, prior
        self.actions = None
        if config.actions == "embedded":
            w = config.action_width
            self.actions = nn.Sequential(nn.Linear(config.control, w), nn.ReLU(), nn.Linear(w, w))
        self.apply(draw_weights)

    # ---- the parts -------------------------------------------------------------------------------------------------

    def sources(self, steps: int) -> list[int]:
        """Return whose skip connections each of the frames 1 .. ``steps`` of a training sequence reads."""
        if self.config.last_frame_skip:
            return list(range(steps))
        last = self.config.context - (1 if self.config.skips == "mended" else 2)
        return [min(i, last) for i in range(steps)]

    def _leading(self, h: Tensor, action: Tensor | None) -> Tensor:
        """Return the encodings with what is known of the actions that lead away from them."""
        if self.config.actions == "none":
            return h
        u = leading_into(action, h.shape[1], self.config.control, h.dtype)
        return torch.cat([h, u if self.actions is None else self.actions(u)], -1)

    def believed(
        self, h: Float[Tensor, "b t d"], leading: Float[Tensor, "b s e"], mask: Bool[Tensor, "b t"] | None
    ) -> Beliefs | None:
        """Return posterior and prior of the latents of frames 1, 2, ...; the posterior of a hidden frame is the prior."""
        if self.posterior is None:
            return None
        mean, log_variance, _ = self.posterior(h[:, 1:])
        prior = (torch.zeros_like(mean), torch.zeros_like(mean))
        if self.prior is not None:
            prior = self.prior(leading)[:2]
        if mask is not None:
            seen = mask[:, 1:, None]
            mean, log_variance = torch.where(seen, mean, prior[0]), torch.where(seen, log_variance, prior[1])
        return Beliefs(mean, log_variance, *prior)

    def _predicted(self, leading: Tensor, z: Tensor | None) -> Tensor:
        return self.predictor(leading if z is None else torch.cat([leading, z], -1))[0]

    def _fields(self, batch: SequenceBatch) -> tuple[Tensor, Tensor | None]:
        """Return the frames, and which are observed; a hidden one is as the last observed before it, dark if there is none."""
        return held_frames(batch, self.config.frame, "svg")

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the squared error and the weighted KL, summed over steps, and both for each step (mse a pixel, kl in nats).

        In eval mode the noise is fixed and beta is at its end.

        Raises:
            UserError: The batch lacks a field, is too short, or is a single sequence, whose step is no batch to normalise by.
        """
        x, mask = self._fields(batch)
        t = x.shape[1]
        check_batch(x, compares(self.config.statistics, self.training))
        sources = self.sources(t - 1)
        h, skips = encoded_steps(self.encoder, x, max(sources) + 1)
        leading = self._leading(h[:, :-1], batch.action)
        beliefs = self.believed(h, leading, mask)
        generator = None if self.training else torch.Generator(h.device).manual_seed(0)
        z = None if beliefs is None else drawn(beliefs.mean, beliefs.log_variance, generator)
        frames = decoded_steps(self.decoder, self._predicted(leading, z), skips, sources)
        with torch.autocast(h.device.type, enabled=False):
            error = (frames - x[:, 1:]).square().mean((2, 3, 4))
            error = (error if mask is None else error * mask[:, 1:]).sum(1).mean()
            kl = error.new_zeros(()) if beliefs is None else gaussian_kl(*beliefs).sum((1, 2)).mean()
            weight = self.config.beta(step if self.training else float("inf"))
        return error + weight * kl, {"mse": error.detach() / (t - 1), "kl": kl.detach() / (t - 1)}

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def beliefs(self, batch: SequenceBatch, *, context: int | None = None) -> Beliefs | None:
        """Return posterior and prior of every frame's latent, the first one's apart; ``None`` for a deterministic model.

        The prior of a frame knows the frames before it, whatever the ``context``: where it widens, the model expects chance.
        """
        x, mask = self._fields(batch)
        h, _ = encoded_steps(self.encoder, x, 0)
        return self.believed(h, self._leading(h[:, :-1], batch.action), mask)

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the encodings ``h`` of the frames, and the posterior means ``z``, zero at the first frame."""
        x, mask = self._fields(batch)
        h, _ = encoded_steps(self.encoder, x, 0)
        beliefs = self.believed(h, self._leading(h[:, :-1], batch.action), mask)
        return {"h": h} if beliefs is None else {"h": h, "z": nn.functional.pad(beliefs.mean, (0, 0, 1, 0))}

    @torch.no_grad()
    def reconstruct(
        self, batch: SequenceBatch, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c h w"]:
        """Return each frame predicted from the true ones before it and the posterior, which knows the frame itself.

        The first frame, which nothing predicts, is returned as it is. Without a generator z is the posterior mean.
        """
        x, _ = self._fields(replace(batch, mask=None, length=None))
        check_batch(x, compares(self.config.statistics))
        h, skips = encoded_steps(self.encoder, x)
        leading = self._leading(h[:, :-1], batch.action)
        beliefs = self.believed(h, leading, None)
        z = None if beliefs is None else beliefs.mean
        if beliefs is not None and generator is not None:
            z = drawn(beliefs.mean, beliefs.log_variance, generator)
        frames = decoded_steps(self.decoder, self._predicted(leading, z), skips, self.sources(x.shape[1] - 1))
        return torch.cat([x[:, :1], frames], 1)

    @torch.no_grad()
    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "s b f c h w"]:
        """Predict on from the last frame of the context; every predicted frame is encoded again.

        With a generator the latents of the context are drawn from the posterior, those of the forecast from the prior, its
        standard deviation times ``temperature``; without one all are at their means. The context is encoded once.

        Raises:
            UserError: The context is too short for the skip connections, or lacks a field.
        """
        config = self.config
        x, mask = self._fields(context)
        check_batch(x, compares(config.statistics), least=1)
        b, t = x.shape[:2]
        chosen = t - 1 if config.last_frame_skip or config.skips == "mended" else t - 2
        if chosen < 0:
            raise UserError(f"context: at least 2 frames wanted with model.skips='paper', got {t}")
        h, skips = encoded_steps(self.encoder, x)
        skips = [skip[chosen * b : (chosen + 1) * b] for skip in skips]
        known = None if context.action is None else context.action[:, : t - 1]
        actions = None if config.actions == "none" else leading_actions(context.action, action, horizon)
        leading = self._leading(h[:, :-1], known)
        beliefs = self.believed(h, leading, mask) if t > 1 else None
        prior_state = self.prior(leading)[2] if self.prior is not None and t > 1 else None
        noise, different = None, 1
        if generator is not None and config.prior != "none":
            different, shape = samples, (samples, b, t - 1 + horizon, config.latent)
            noise = torch.randn(shape, generator=generator, device=h.device)
            noise[:, :, t - 1 :] *= temperature

        def continued(part: slice) -> Tensor:
            """Return the forecasts of some of the samples, one beside the other [b', f, c, h, w]."""
            s = part.stop - part.start
            epsilon = None if noise is None else noise[part].flatten(0, 1)

            def repeated(y: Tensor) -> Tensor:
                return y.expand(s, *y.shape).flatten(0, 1)

            def latent(mean: Tensor, log_variance: Tensor, steps: slice) -> Tensor:
                return mean if epsilon is None else mean + (0.5 * log_variance).exp() * epsilon[:, steps]

            state, prior = None, None if prior_state is None else expanded(prior_state, s)
            if t > 1:
                inputs = [repeated(leading)]
                if beliefs is not None:
                    mean, log_variance = repeated(beliefs.mean), repeated(beliefs.log_variance)
                    inputs.append(latent(mean, log_variance, slice(t - 1)))
                _, state = self.predictor(torch.cat(inputs, -1))
            last, own, frames = repeated(h[:, -1:]), skips, []
            for i in range(horizon):
                step = None if actions is None else repeated(actions[:, i : i + 1])
                inputs = self._leading(last, step)
                if config.prior != "none":
                    mean = log_variance = last.new_zeros(len(last), 1, config.latent)
                    if self.prior is not None:
                        mean, log_variance, prior = self.prior(inputs, prior)
                    z = latent(mean, log_variance, slice(t - 1 + i, t + i))
                    inputs = torch.cat([inputs, z], -1)
                g, state = self.predictor(inputs, state)
                read = list(range(s)) if len(own[0]) == s * b else [0] * s
                frame = full_precision(self.decoder(g[:, 0], own, read)).sigmoid()
                frames.append(frame)
                if i < horizon - 1:
                    vector, found = self.encoder(frame, s, s if config.last_frame_skip else 0)
                    last, own = full_precision(vector)[:, None], found if config.last_frame_skip else own
            return torch.stack(frames, 1)

        most = max(1, FRAMES_AT_ONCE // b)
        parts = [continued(slice(k, min(k + most, different))) for k in range(0, different, most)]
        return torch.cat(parts).unflatten(0, (different, b)).expand(samples, *[-1] * 5)


def svg_lp() -> SVGConfig:
    """Return SVG-LP: the prior is learned, and knows the frames so far."""
    return SVGConfig()


def svg_fp() -> SVGConfig:
    """Return SVG-FP: the prior is N(0, I) at every step."""
    return SVGConfig(prior="fixed")


def svg_deterministic() -> SVGConfig:
    """Return the ablation without latents."""
    return SVGConfig(prior="none")
