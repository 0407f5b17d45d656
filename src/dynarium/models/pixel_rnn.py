"""AE-RNN and VAE-RNN: the recurrent baselines of Fraccaro, Kamronn, Paquet & Winther 2017 (arXiv:1710.05741), figure 3.

A frame x_t is encoded into a low-dimensional code a_t, as in the Kalman VAE; a recurrent network predicts the next code
from those before it, and where a code is missing it reads its own prediction instead:

    AE-RNN:   a_t = encoder(x_t),      a'_t = f(a_1 .. a_{t-1}, u)
    VAE-RNN:  a_t ~ q(a_t | x_t),      p(x, a) = prod_t p(x_t | a_t) N(a_t; m_t, diag v_t),  (m_t, v_t) = f(a_1 .. a_{t-1}, u)

The recurrent network sees the past only: both can filter. ``bidirectional`` adds a smoother, a bidirectional network over the
observed codes that has learned to bridge gaps from frames hidden in training.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import (
    Likelihood,
    expected_frames,
    fitted_to_frames,
    frame_log_likelihood,
    hidden_in_training,
    leading_actions,
    seen_frames,
)
from dynarium.nn.conv import ConvEncoder, SubpixelDecoder
from dynarium.nn.frames import as_float
from dynarium.objectives.likelihoods import gaussian_log_likelihood
from dynarium.types import SequenceBatch

LstmState = tuple[Float[Tensor, "1 b d"], Float[Tensor, "1 b d"]]


@dataclass(frozen=True, kw_only=True)
class PixelRNNConfig:
    """Options of the AE-RNN and the VAE-RNN; sizes are those of the KVAE.

    Attributes:
        variational: A VAE-RNN: variational codes with the recurrent network's Gaussian as their prior. Otherwise an AE-RNN:
            deterministic codes.
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action u; 0 without actions. Taken from the data.
        observation: Dimension p of the code a.
        hidden: Width of the LSTM; of each direction of the smoother's.
        channels: Channels of the encoder's layers, and of the decoder's.
        likelihood: p(x | a): Bernoulli (frames in [0, 1]) or Gaussian with variance ``pixel_variance``.
        pixel_variance: Variance of the Gaussian likelihood.
        code_variance: Bound of the variance of q(a | x), as in the KVAE. The prior's variance is learned, so that this only
            sets the scale of the codes. Unused by the AE-RNN.
        reconstruction_weight: Weight of log p(x | a) in training; evaluation always uses 1.
        bidirectional: Add the smoother; needs ``missing`` above 0, as hidden frames are what it learns from.
        missing: Probability with which a frame is hidden in training, from frame ``observe_first`` on.
        observe_first: Number of first frames that training never hides.
    """

    variational: bool = False
    frame: tuple[int, int, int] = (1, 32, 32)
    control: int = 0
    observation: int = 2
    hidden: int = 50
    channels: tuple[int, ...] = (32, 32, 32)
    likelihood: Likelihood = "bernoulli"
    pixel_variance: float = 0.1
    code_variance: float = 0.03
    reconstruction_weight: float = 0.3
    bidirectional: bool = False
    missing: float = 0.0
    observe_first: int = 3

    def __post_init__(self) -> None:
        for name in ("observation", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("pixel_variance", "code_variance"):
            if getattr(self, name) <= 0:
                raise UserError(f"model.{name}: expected a variance above 0, got {getattr(self, name)}")
        if not 0 <= self.missing < 1:
            raise UserError(f"model.missing: expected a probability in [0, 1), got {self.missing}")
        if self.bidirectional and self.missing == 0:
            raise UserError(
                "model.missing: expected a probability above 0 for a bidirectional model to learn from, got 0"
            )

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "PixelRNNConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``.
        """
        return fitted_to_frames(self, shapes, _name(self))

    def build(self) -> "PixelRNN":
        """Create the model."""
        return PixelRNN(self)


def ae_rnn() -> PixelRNNConfig:
    """Return the default AE-RNN."""
    return PixelRNNConfig()


def vae_rnn() -> PixelRNNConfig:
    """Return the default VAE-RNN."""
    return PixelRNNConfig(variational=True)


def _name(config: PixelRNNConfig) -> str:
    return "vae-rnn" if config.variational else "ae-rnn"


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What the recurrent network says of every code before it sees it.

    Attributes:
        a: The codes that it read: the given one where observed, the predicted one where missing.
        mean: The mean m_t of a_t given the codes before it.
        variance: Its variance v_t.
        hidden: The output of the LSTM behind them.
        state: The state of the LSTM before it reads the last code.
    """

    a: Float[Tensor, "b t p"]
    mean: Float[Tensor, "b t p"]
    variance: Float[Tensor, "b t p"]
    hidden: Float[Tensor, "b t d"]
    state: LstmState


class PixelRNN(nn.Module):
    """An AE-RNN or a VAE-RNN. See ``PixelRNNConfig`` for its options and the module for the model."""

    def __init__(self, config: PixelRNNConfig) -> None:
        super().__init__()
        self.config = config
        p, d = config.observation, config.hidden
        moments = 2 if config.variational else 1
        self.encoder = ConvEncoder(config.frame, config.channels)
        self.posterior = nn.Linear(self.encoder.width, moments * p)
        self.decoder = SubpixelDecoder(p, config.frame, config.channels)
        self.lstm = nn.LSTM(p + config.control, d, batch_first=True)
        self.predictor = nn.Linear(d, moments * p)
        self.first = nn.Parameter(torch.zeros(p))
        """The input of the LSTM at the first step, where there is no past."""
        self.smoother = nn.LSTM(p + 1, d, batch_first=True, bidirectional=True) if config.bidirectional else None
        self.smoothed = nn.Linear(2 * d, moments * p) if config.bidirectional else None

    # ---- q(a | x) and p(x | a) -------------------------------------------------------------------------------------

    def posterior_of(self, video: Tensor) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"]]:
        """Return mean and variance of q(a_t | x_t) for every frame; the variance of an AE-RNN's code is 0."""
        b, t = video.shape[:2]
        features = self.posterior(self.encoder(as_float(video).flatten(0, 1))).float().unflatten(0, (b, t))
        if not self.config.variational:
            return features, torch.zeros_like(features)
        mean, raw = features.chunk(2, dim=-1)
        return mean, self.config.code_variance * raw.sigmoid() + 1e-6

    def decode(self, a: Float[Tensor, "b t p"]) -> Float[Tensor, "b t c h w"]:
        """Return the pixel parameters: logits (Bernoulli) or means (Gaussian)."""
        return self.decoder(a.flatten(0, 1)).float().unflatten(0, a.shape[:2])

    def frames(self, a: Float[Tensor, "b t p"]) -> Float[Tensor, "b t c h w"]:
        """Return the expected frames, in [0, 1]."""
        return expected_frames(self.decode(a), self.config.likelihood)

    # ---- p(a_t | a_1 .. a_{t-1}) ------------------------------------------------------------------------------------

    def predict(
        self,
        a: Float[Tensor, "b t p"],
        mask: Bool[Tensor, "b t"] | None = None,
        action: Shaped[Tensor, "b t a"] | None = None,
        noise: Float[Tensor, "b t p"] | None = None,
    ) -> Predicted:
        """Predict every code from those before it, given the observed part of ``a``.

        Without missing steps the LSTM sees the whole shifted sequence at once; otherwise it is unrolled, and reads its own
        prediction where a code is missing: the mean, or with ``noise`` (standard normal) the draw that it makes.
        """
        first, control = self.first.expand(len(a), 1, -1), self._control(action, a.shape[1])
        if mask is None:
            past = torch.cat([first, a[:, :-1]], dim=1)
            hidden, state = self.lstm(past if control is None else torch.cat([past, control], dim=-1))
            mean, variance = self._moments(self.predictor(hidden))
            return Predicted(a=a, mean=mean, variance=variance, hidden=hidden, state=state)
        state, past, steps = None, first, []
        for i in range(a.shape[1]):
            seen = past if control is None else torch.cat([past, control[:, i : i + 1]], dim=-1)
            hidden, state = self.lstm(seen, state)
            mean, variance = self._moments(self.predictor(hidden))
            drawn = mean if noise is None else mean + variance.sqrt() * noise[:, i : i + 1]
            past = torch.where(mask[:, i, None, None], a[:, i : i + 1], drawn)
            steps.append((past, mean, variance, hidden))
        read, mean, variance, hidden = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        assert state is not None
        return Predicted(a=read, mean=mean, variance=variance, hidden=hidden, state=state)

    def smooth(self, a: Float[Tensor, "b t p"], mask: Bool[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
        """Return mean and variance of every code that is missing, given all that are observed, before it and after.

        One bidirectional LSTM reads the observed codes, zeros in the gaps, and which is which.
        """
        assert self.smoother is not None and self.smoothed is not None
        seen = torch.cat([torch.where(mask[..., None], a, 0), mask[..., None].to(a.dtype)], dim=-1)
        return self._moments(self.smoothed(self.smoother(seen)[0]))

    def _moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        if not self.config.variational:
            return raw, torch.zeros_like(raw)
        mean, raw = raw.chunk(2, dim=-1)
        return mean, F.softplus(raw) + 1e-6

    def _control(self, action: Tensor | None, steps: int) -> Tensor | None:
        """Shift the actions so that entry t is the one that leads into step t; ``None`` where the model takes none."""
        if self.config.control == 0:
            return None
        if action is None:
            raise UserError(f"action: the model was made for {self.config.control} of them, the batch has none")
        return F.pad(action[:, : steps - 1].float(), (0, 0, 1, 0))

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative objective per observed frame and its terms.

        VAE-RNN: the evidence lower bound ``w log p(x | a) - log q(a | x) + log p(a_t | a_<t)``, one sample of a; a hidden code
        is drawn from its prior, where its terms vanish. AE-RNN: ``w log p(x | a) + log p(x | a')``, as a distance between
        codes could be made small by making the codes small. In eval mode w = 1 and the noise is fixed.

        With ``bidirectional``, the smoother is scored in the same way on the frames that training hides: log N(a; m, v) of
        the fixed code (VAE-RNN; the bound stays one on p(x)) or log p(x | m) (AE-RNN). In eval mode these are always the same.
        """
        config, training = self.config, self.training
        video, shown = seen_frames(batch, config.frame, _name(config))
        mask = hidden_in_training(shown, video, config.missing, config.observe_first) if training else shown
        mean, variance = self.posterior_of(video)
        generator = None if training else torch.Generator(video.device).manual_seed(0)
        a, noise = mean, None
        if config.variational:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            a = mean + variance.sqrt() * noise

        with torch.autocast(a.device.type, enabled=False):  # codes want float32
            predicted = self.predict(a, mask, batch.action, noise)
        log_x = frame_log_likelihood(self.decode(a), video, config.likelihood, config.pixel_variance)
        weight = config.reconstruction_weight if training else 1.0
        terms = {"log_p_x": _mean(log_x, mask)}
        if config.variational:
            log_q = _mean(gaussian_log_likelihood(a, mean, variance).sum(-1), mask)
            log_a = _mean(gaussian_log_likelihood(a, predicted.mean, predicted.variance).sum(-1), mask)
            terms |= {"log_q_a": log_q, "log_p_a": log_a, "elbo": terms["log_p_x"] - log_q + log_a}
            objective = weight * terms["log_p_x"] - log_q + log_a
        else:
            log_next = frame_log_likelihood(
                self.decode(predicted.mean), video, config.likelihood, config.pixel_variance
            )
            # Its own roll-outs through hidden frames are scored too: the data show what they should have been.
            terms["log_p_x_predicted"] = _mean(log_next, shown)
            objective = weight * terms["log_p_x"] + terms["log_p_x_predicted"]
        if config.bidirectional:
            terms["log_p_smooth"] = self._smoother_score(a, video, shown, mask if training else None)
            objective = objective + terms["log_p_smooth"]
        with torch.no_grad():
            terms["active_units"] = (mean.flatten(0, 1).var(0) > 1e-2).sum().float()
        return -objective, {name: value.detach() for name, value in terms.items()}

    def _smoother_score(self, a: Tensor, video: Tensor, shown: Tensor | None, kept: Tensor | None) -> Tensor:
        """Return the smoother's mean log-likelihood on frames that the data show but ``kept`` hides (``None``: fixed ones)."""
        config = self.config
        shown = torch.ones_like(a[..., 0], dtype=torch.bool) if shown is None else shown
        if kept is None:
            generator = torch.Generator().manual_seed(1)
            kept = shown & (torch.rand(shown.shape, generator=generator) >= config.missing).to(shown.device)
        with torch.autocast(a.device.type, enabled=False):
            mean, variance = self.smooth(a.detach() if config.variational else a, kept)
        if config.variational:
            score = gaussian_log_likelihood(a.detach(), mean, variance).sum(-1)
        else:
            score = frame_log_likelihood(self.decode(mean), video, config.likelihood, config.pixel_variance)
        return _mean(score, shown & ~kept)

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def infer(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Return everything that is inferred from the observed frames, means throughout.

        Keys: ``a`` (encoded, or predicted where missing), ``state`` (all that the past tells: the LSTM's output, and a) and,
        of a bidirectional model, ``a_smooth`` (encoded, or smoothed where missing).
        """
        video, mask = seen_frames(batch, self.config.frame, _name(self.config))
        a, _ = self.posterior_of(video)
        predicted = self.predict(a, mask, batch.action)
        inferred = {"a": predicted.a, "state": torch.cat([predicted.hidden, predicted.a], dim=-1)}
        if self.config.bidirectional:
            inferred["a_smooth"] = a if mask is None else torch.where(mask[..., None], a, self.smooth(a, mask)[0])
        return inferred

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the representations ``state``, ``a`` and, of a bidirectional model, ``a_smooth``."""
        inferred = self.infer(batch)
        return {name: inferred[name] for name in ("state", "a", "a_smooth") if name in inferred}

    @torch.no_grad()
    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return each frame decoded from its own encoding."""
        video, _ = seen_frames(replace(batch, mask=None, length=None), self.config.frame, _name(self.config))
        return self.frames(self.posterior_of(video)[0])

    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return all frames decoded from their codes, or where hidden from those predicted.

        ``smooth`` (only of a bidirectional model) uses all observed frames, ``filter`` those before.
        """
        inferred = self.infer(batch)
        names = {"smooth": "a_smooth", "filter": "a"}
        with torch.no_grad():
            return {name: self.frames(inferred[key]) for name, key in names.items() if key in inferred}

    @torch.no_grad()
    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f c h w"]:
        """Roll the recurrent network forward from the last frame of the context, on its own predictions.

        ``action[:, 0]`` acts from the first forecast frame on; the context's last action leads into it. Without a
        generator every noise is zero; with one, a VAE-RNN draws the codes of the context and of the future. An AE-RNN has
        nothing to draw: its samples are all the same.
        """
        video, mask = seen_frames(context, self.config.frame, _name(self.config))
        a, variance = self.posterior_of(video)
        b, t = a.shape[:2]
        drawn = 1 if generator is None or not self.config.variational else samples

        def repeated(x: Tensor) -> Tensor:
            return x.expand(drawn, *x.shape).flatten(0, 1)

        noise = a.new_zeros(drawn * b, t + horizon, a.shape[-1])
        if generator is not None:
            noise.normal_(generator=generator)
        a = repeated(a) + repeated(variance).sqrt() * noise[:, :t]
        actions = leading_actions(context.action, action, horizon) if self.config.control else None
        actions = None if actions is None else repeated(actions)
        taken = None if actions is None or context.action is None else repeated(context.action)
        predicted = self.predict(a, None if mask is None else repeated(mask), taken, noise[:, :t])
        past, state, rolled = predicted.a[:, -1:], predicted.state, []
        for i in range(horizon):
            seen = past if actions is None else torch.cat([past, actions[:, i : i + 1]], dim=-1)
            hidden, state = self.lstm(seen, state)
            mean, spread = self._moments(self.predictor(hidden))
            past = mean + spread.sqrt() * noise[:, t + i, None]
            rolled.append(past)
        frames = self.frames(torch.cat(rolled, dim=1)).unflatten(0, (drawn, b))
        return frames.expand(samples, *frames.shape[1:])


def _mean(values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, ""]:
    """Return the mean over the observed steps; 0 where there are none."""
    observed = torch.ones_like(values) if mask is None else mask.to(values.dtype)
    return (values * observed).sum() / observed.sum().clamp(min=1)
