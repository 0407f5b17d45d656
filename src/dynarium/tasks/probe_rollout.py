"""Probing of roll-outs: from one frame and the actions alone, does the latent still know where everything is?"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dynarium.errors import UserError
from dynarium.metrics.intervals import bootstrap
from dynarium.metrics.regression import r2_of_sequences
from dynarium.models.capabilities import Decodes, Imagines
from dynarium.tasks.common import device_of, frames_of, need
from dynarium.tasks.origin import Origin, actions_of, sequences_of, without_mask
from dynarium.tasks.regressors import Regressor, linear_regressor, sgd_regressor
from dynarium.types import Result, Row

PIXEL_SIDE = 28
"""Frames are averaged down to this side before they are read as plain numbers."""

PIXEL_SEQUENCES = 1000
"""Training sequences, at most, to whose frames the linear map of pixels is fitted."""


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Latents [b, t, d], the first encoded and the others imagined; pixels [b, t, p], positions [b, t, n], actions."""

    latent: Tensor
    pixels: Tensor
    position: Tensor
    action: Tensor


@dataclass(frozen=True, kw_only=True)
class ProbeRollout:
    """A linear probe of the positions on ``[embed(x_0), imagine(embed(x_0), actions)]``, scored in pixels.

    The probe is fitted on the training split and scored on another. By default it is ridge regression in closed form, one
    map for the first, encoded latent and one for all imagined ones, as these live on different scales. The protocol of
    Sobal et al. 2022 is ``protocol="sgd", shared=True``: one map without a bias, by Adam at 1e-3; their error is far from
    converged and larger. ("Joint Embedding Predictive Architectures Focus on Slow Features".)

    Metrics: ``rmse_px = sqrt(mean over sequences, steps and dots of the squared Euclidean distance)``, in pixels, over
    everything, ``rmse_px_start`` at t = 0, ``rmse_px_rollout`` after it, ``rmse_px_step`` of each step; where there are
    several dots, ``rmse_px_dot`` of each, without t = 0 as in ``rmse_px_rollout``, and ``rmse_px_step`` of each dot and step.
    With ``_low`` and ``_high`` the bounds of a 95 % bootstrap interval over scored sequences (the fit is not drawn again, nor
    is the training); ``r2_rollout``, and for the displacement of the last step, ``velocity_rmse_px`` and ``velocity_r2``.

    Rows: ``rollout``, and the trivial ``constant`` (the mean training position), ``hold-first`` (the true start),
    ``dead-reckoning`` (the true start and the sum of the actions: no walls) and ``linear-actions`` (for each step a linear
    regression on the true start and the actions until then); and a bound, ``pixels-linear`` (a linear map of the very frame
    whose positions are asked for: it forecasts nothing).

    Attributes:
        dims: Dimensions of the state that are positions, x and y of each dot in turn; ``None``: all.
        scale: Pixels of one unit of these.
        protocol: ``least-squares`` (ridge) or ``sgd`` (Adam, no bias).
        shared: One map for the encoded and the imagined latents.
        ridge: Ridge as a share of the variance of a feature.
        epochs: Passes over the training rows, of ``sgd``.
        train_sequences: Fit on so many sequences; ``None``: all of a dataset, 1000 of a world.
        split: Split to score on.
        sequences: Score on so many sequences; ``None``: all of a dataset, 1000 of a world.
        batch_size: Sequences at a time.
        resamples: Resamples of the bootstrap.
        shown: Sequences kept for pictures.
        seed: Seed of the resamples, and of the first weights and the order of ``sgd``.
    """

    dims: tuple[int, ...] | None = None
    scale: float = 1.0
    protocol: Literal["least-squares", "sgd"] = "least-squares"
    shared: bool = False
    ridge: float = 1e-6
    epochs: int = 30
    train_sequences: int | None = 5000
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 256
    resamples: int = 1000
    shown: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: One is out of range.
        """
        for name, least in (
            ("train_sequences", 2),
            ("sequences", 2),
            ("batch_size", 1),
            ("resamples", 2),
            ("epochs", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"probe-rollout.{name}: expected at least {least}, got {value}")
        if self.ridge < 0 or self.scale <= 0:
            raise UserError(f"probe-rollout: expected ridge >= 0 and scale > 0, got {self.ridge} and {self.scale}")
        if self.split == "train":
            raise UserError("probe-rollout.split: expected another split than 'train', on which the probes are fitted")

    @property
    def name(self) -> str:
        """The task's name: ``probe-rollout``, with the protocol and the sharing where they are not the default."""
        protocol = "" if self.protocol == "least-squares" else self.protocol
        return "-".join(word for word in ("probe-rollout", protocol, "shared" if self.shared else "") if word)

    def run(self, model: Any, dataset: Origin) -> Result:
        """Roll out, fit, score. ``dataset`` may be a world or an ``OnlineSource`` as well.

        Raises:
            UserError: The model does not imagine, or the data have no states or no actions.
        """
        need(model, Imagines, self.name)
        train, _ = self.rollouts(model, dataset, "train", self.train_sequences)
        test, video = self.rollouts(model, dataset, self.split, self.sequences)
        truth = test.position
        answers = self.positions(train, test)
        rows: list[Row] = []
        for method, positions in answers.items():
            rows += self._position_rows(method, positions, truth, baseline=method not in ("rollout", "pixels-linear"))
        for method, velocity in self._velocities(train, test).items():
            rows += self._velocity_rows(method, velocity, truth.diff(dim=1), baseline=method != "rollout")
        shown = slice(self.shown)
        examples = {
            "scene": video[shown],
            "marks/truth": truth[shown],
            "marks/belief": answers["rollout"][shown],
            **_decoded(model, test.latent[shown]),
        }
        return Result(task=self.name, rows=tuple(rows), examples=examples)

    def positions(self, train: Rollouts, test: Rollouts) -> dict[str, Tensor]:
        """Return the positions [b, t, n] that every method says, fitted on one sample, about another."""
        start, steps = test.position[:, :1], test.position.shape[1]
        kept = slice(PIXEL_SEQUENCES)
        pixels = linear_regressor(train.pixels[kept].flatten(0, 1), train.position[kept].flatten(0, 1), 1e-3)
        # At step t the actions 0 .. t - 1 have acted; later ones get no weight but by chance, so they are left out.
        known = [
            (torch.cat([x.position[:, 0], x.action[:, :t].flatten(1)], 1) for x in (train, test)) for t in range(steps)
        ]
        linear = [linear_regressor(fit, train.position[:, t], 0.0)(asked) for t, (fit, asked) in enumerate(known)]
        moved = _displacements(test, self.scale).cumsum(1)
        return {
            "rollout": self._probed(train, test),
            "constant": train.position.mean((0, 1)).expand_as(test.position),
            "hold-first": start.expand_as(test.position),
            "dead-reckoning": torch.cat([start, start + moved], 1),
            "linear-actions": torch.stack(linear, 1),
            "pixels-linear": pixels(test.pixels.flatten(0, 1)).unflatten(0, test.pixels.shape[:2]),
        }

    def readers(self, train: Rollouts) -> tuple[Regressor, Regressor]:
        """Return the fitted maps from encoded and from imagined latents to positions; one and the same where it is shared."""
        parts = (slice(None),) if self.shared else (slice(0, 1), slice(1, None))
        fitted = [self._fitted(train.latent[:, p].flatten(0, 1), train.position[:, p].flatten(0, 1)) for p in parts]
        return fitted[0], fitted[-1]

    def _probed(self, train: Rollouts, test: Rollouts) -> Tensor:
        """Return the positions that the probes read off the latents."""
        encoded, imagined = self.readers(train)
        later = imagined(test.latent[:, 1:].flatten(0, 1)).unflatten(0, (len(test.latent), -1))
        return torch.cat([encoded(test.latent[:, 0])[:, None], later], 1)

    def _velocities(self, train: Rollouts, test: Rollouts) -> dict[str, Tensor]:
        """Return the displacements [b, t - 1, n] of every step that the methods say."""
        wanted = train.position.diff(dim=1)
        read = self._fitted(train.latent[:, 1:].flatten(0, 1), wanted.flatten(0, 1))
        asked = test.latent[:, 1:]
        return {
            "rollout": read(asked.flatten(0, 1)).unflatten(0, asked.shape[:2]),
            "constant": wanted.mean((0, 1)).expand(len(test.position), *wanted.shape[1:]),
            "dead-reckoning": _displacements(test, self.scale),
        }

    def _fitted(self, x: Tensor, y: Tensor) -> Regressor:
        if self.protocol == "sgd":
            return sgd_regressor(x, y, epochs=self.epochs, seed=self.seed)
        return linear_regressor(x, y, self.ridge)

    @torch.no_grad()
    def rollouts(self, model: Any, origin: Origin, split: str, sequences: int | None) -> tuple[Rollouts, Tensor]:
        """Roll out the sequences of a split; also return the frames of the first few.

        Raises:
            UserError: As ``run``.
        """
        device, parts, shown = device_of(model), [], None
        for batch in sequences_of(origin, split, sequences, self.batch_size, needs=("video", "state")):
            batch = without_mask(batch, self.name)
            action = actions_of(batch, self.name)
            assert batch.state is not None and batch.video is not None
            position = batch.state.double().cpu()[..., self._dims(batch.state.shape[-1])] * self.scale
            start = model.embed(batch.video[:, :1].to(device))
            imagined = model.imagine(start[:, 0], action.to(device))
            latent = torch.cat([start, imagined], 1).float().cpu()
            if not bool(latent.isfinite().all()):
                raise UserError(f"{self.name}: the model's latents are not finite")
            video = frames_of(batch).cpu()
            shown = video[: self.shown] if shown is None else shown
            side = min(PIXEL_SIDE, *video.shape[-2:])
            pixels = adaptive_avg_pool2d(video.flatten(0, 1), side).unflatten(0, video.shape[:2]).flatten(2)
            if split == "train" and len(parts) * self.batch_size >= PIXEL_SEQUENCES:
                pixels = pixels[:0]
            parts.append((latent, pixels, position, action.double().cpu()))
        latent, pixels, position, action = (torch.cat(column) for column in zip(*parts, strict=True))
        if len(position) < 2:
            raise UserError(f"{self.name}: expected at least 2 sequences of {split!r}, got {len(position)}")
        assert shown is not None
        return Rollouts(latent=latent, pixels=pixels, position=position, action=action), shown

    def _dims(self, n: int) -> list[int]:
        dims = list(range(n) if self.dims is None else self.dims)
        if len(dims) % 2 or not dims or not all(0 <= k < n for k in dims):
            raise UserError(
                f"probe-rollout.dims: expected x and y of each dot among the {n} dimensions of the state, "
                f"got {self.dims or dims}"
            )
        return dims

    def _position_rows(self, method: str, positions: Tensor, truth: Tensor, *, baseline: bool) -> list[Row]:
        """Return the errors of one method: over everything, at the start, after it, of every step and of every dot."""
        square = (positions - truth).square().unflatten(-1, (-1, 2)).sum(-1)  # [b, t, dots]
        steps, dots = square.shape[1:]
        over = {"steps": steps, "dots": dots}
        rows: list[Row] = []
        for metric, part in (("rmse_px", square), ("rmse_px_rollout", square[:, 1:]), ("rmse_px_start", square[:, :1])):
            rows += self._interval_rows(method, metric, over, part.mean((1, 2)), baseline)
        for t in range(steps):
            rows.append(self._row(method, "rmse_px_step", {"step": t}, square[:, t].mean(1), baseline))
        for dot in range(dots if dots > 1 else 0):
            rows.append(self._row(method, "rmse_px_dot", {"dot": dot + 1}, square[:, 1:, dot].mean(1), baseline))
            for t in range(steps):
                where = {"dot": f"{dot + 1}", "step": t}
                rows.append(self._row(method, "rmse_px_step", where, square[:, t, dot], baseline))
        return [*rows, _r2_row(method, "r2_rollout", positions[:, 1:], truth[:, 1:], baseline)]

    def _velocity_rows(self, method: str, velocity: Tensor, truth: Tensor, *, baseline: bool) -> list[Row]:
        square = (velocity - truth).square().unflatten(-1, (-1, 2)).sum(-1)
        over = {"steps": square.shape[1], "dots": square.shape[2]}
        rows = self._interval_rows(method, "velocity_rmse_px", over, square.mean((1, 2)), baseline)
        return [*rows, _r2_row(method, "velocity_r2", velocity, truth, baseline)]

    def _interval_rows(
        self, method: str, metric: str, condition: dict[str, Any], square: Tensor, baseline: bool
    ) -> list[Row]:
        """Return a root of a mean over sequences with the bounds of its interval."""
        error, low, high = bootstrap(
            square[:, None], lambda means: means[:, 0].sqrt(), resamples=self.resamples, seed=self.seed
        )
        values = {metric: float(square.mean().sqrt()), f"{metric}_low": low, f"{metric}_high": high}
        return [
            Row(
                method=method,
                metric=name,
                condition=condition,
                value=value,
                standard_error=error if name == metric else math.nan,
                n=len(square),
                baseline=baseline,
            )
            for name, value in values.items()
        ]

    @staticmethod
    def _row(method: str, metric: str, condition: dict[str, Any], square: Tensor, baseline: bool) -> Row:
        """Return the root of a mean over sequences; its error by linearisation, ``se(mean) / (2 root)``."""
        n, value = len(square), float(square.mean().sqrt())
        error = float(square.std()) / n**0.5 / (2 * value) if value > 0 else 0.0
        return Row(
            method=method, metric=metric, condition=condition, value=value, standard_error=error, n=n, baseline=baseline
        )


def _decoded(model: Any, latent: Float[Tensor, "b t d"]) -> dict[str, Tensor]:
    """Return the frames that the model decodes from its roll-out; nothing of a model without a decoder."""
    if not isinstance(model, Decodes):
        return {}
    try:
        return {"scene/decoded": model.decode(latent.to(device_of(model))).cpu()}
    except UserError:
        return {}


def _displacements(rollouts: Rollouts, scale: float) -> Tensor:
    """Return by how much the actions say that every position moves: the first dots move, those without an action stay."""
    n, a = rollouts.position.shape[-1], rollouts.action.shape[-1]
    padding = rollouts.action.new_zeros(*rollouts.action.shape[:2], max(0, n - a))
    return torch.cat([rollouts.action[..., :n], padding], -1) * scale


def _r2_row(method: str, metric: str, answer: Tensor, truth: Tensor, baseline: bool) -> Row:
    """Return the mean R2 over the dimensions that vary."""
    varies = truth.amax((0, 1)) > truth.amin((0, 1))
    error = (answer - truth).square().sum(1)[:, varies]
    deviation = (truth - truth.mean((0, 1))).square().sum(1)[:, varies]
    found = r2_of_sequences(error, deviation)
    return Row(
        method=method,
        metric=metric,
        condition={"dimensions": int(varies.sum())},
        value=found.value,
        standard_error=found.standard_error,
        n=found.n,
        baseline=baseline,
    )
