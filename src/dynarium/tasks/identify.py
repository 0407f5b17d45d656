"""Identification: read inputs and outputs of a system never met, then predict its outputs; beside classical methods."""

import time
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.models.capabilities import Identifies, PredictsNext
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, known_steps
from dynarium.tasks.identifiers import IDENTIFIERS
from dynarium.types import Result, SequenceBatch

_NINETY = 1.6449
"""Standard deviations to either side that hold 90 % of a Gaussian."""
_CONSTANT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Identify:
    """Identification from a context of inputs and outputs.

    ``simulation``: the outputs after the context, given the inputs there. ``one-step``: each output there given all inputs
    up to its step and all outputs before it. A model is asked what it can; the baselines answer both, each fitted to the
    context alone: ``last-value``, ``context-mean``, ridge regressions ``fir`` and ``arx`` (order and penalty chosen on the
    context's last quarter) and ``subspace`` (simulation only).

    Metrics, of each sequence and output, then averaged (over outputs, over sequences): ``rmse``; ``nrmse``, divided by the
    standard deviation of the true output; ``fit_index`` = 100 (1 - |y - yhat| / |y - mean y|); ``r2``; and where deviations
    are given ``coverage_90``, the share of outputs within the central 90 % of the stated Gaussian. ``seconds`` is the time
    for one system, in batches of ``batch_size``.

    Attributes:
        context: Steps that are given.
        horizon: Steps to predict after them; ``None``: all the rest.
        contexts: Further lengths of the context; these are the last steps before the same horizon.
        noise: Standard deviations of white noise on the given outputs, in units of the standard deviation of the context's
            outputs; what is predicted is scored against the outputs as stored.
        baselines: Classical methods to ask too.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the noise.
    """

    context: int = 400
    horizon: int | None = None
    contexts: tuple[int, ...] = ()
    noise: tuple[float, ...] = (0.0,)
    baselines: tuple[str, ...] = tuple(IDENTIFIERS)
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name."""
        return "identify"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Give the context, ask, compare.

        Raises:
            UserError: The model can neither simulate nor predict, the dataset has no inputs and outputs, its sequences are
                too short, a signal is constant over a context, or an option is out of its range.
        """
        questions = [
            name for name, can in (("simulation", Identifies), ("one-step", PredictsNext)) if isinstance(model, can)
        ]
        if not questions:
            raise UserError(
                f"task identify: {type(model).__name__} has neither of the capabilities Identifies and PredictsNext"
            )
        horizon = self._horizon(dataset)
        tally, examples = Tally(), {}
        generator = torch.Generator().manual_seed(self.seed)
        needs = ("action", "observation")
        for k, batch in enumerate(
            evaluation_batches(dataset, self.split, self.sequences, self.batch_size, needs=needs)
        ):
            batch, _ = cut(batch, self.context + horizon)
            self._check(batch)
            assert batch.observation is not None
            clean = batch.observation.double()
            white = torch.randn(clean.shape, dtype=torch.float64, generator=generator)
            scale = clean[:, : self.context].std(1, keepdim=True)
            for noise in self.noise:
                noisy = clean + noise * scale * white
                for length in sorted({self.context, *self.contexts}, reverse=True):
                    first = self.context - length
                    asked = replace(batch, mask=None, observation=noisy.float())
                    _, asked = cut(asked, first)
                    shown = {}
                    for question in questions:
                        condition = {"question": question, "context": length, "noise": noise}
                        answers = self._answers(model, asked, question, length)
                        for method, (mean, deviation, seconds, baseline) in answers.items():
                            truth = clean[:, self.context :]
                            found = _scores(truth, mean, deviation)
                            found["seconds"] = (torch.full((len(truth),), seconds / len(truth)), None)
                            for metric, (values, weights) in found.items():
                                tally.add(method, metric, condition, values, weights, baseline=baseline)
                            shown[f"observation/{question}-{method}"] = mean[: self.shown]
                    if k == 0 and not examples:
                        examples = {"observation/truth": clean[: self.shown, self.context :], **shown}
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    def _answers(
        self, model: Any, batch: SequenceBatch, question: str, context: int
    ) -> dict[str, tuple[Tensor, Tensor | None, float, bool]]:
        """Return mean, deviation and seconds of the model and of every baseline, and whether it is one."""
        given, rest = cut(batch, context)
        there, device = batch.to(device_of(model)), device_of(model)
        assert batch.action is not None and batch.observation is not None and rest.action is not None
        started = time.perf_counter()
        if question == "simulation":
            mean, deviation = cast(Identifies, model).simulate(given.to(device), rest.action.to(device))
        else:
            both = cast(PredictsNext, model).predict_next(there)
            mean, deviation = (None if x is None else x[:, context:] for x in both)
        assert mean is not None
        mean, deviation = mean.double().cpu(), None if deviation is None else deviation.double().cpu()
        answers = {"model": (mean, deviation, time.perf_counter() - started, False)}
        u, y = batch.action.double(), batch.observation.double()
        for name in self.baselines:
            started, method = time.perf_counter(), IDENTIFIERS[name]
            if question == "simulation":
                found = method.simulate(u[:, :context], y[:, :context], u[:, context:])
            else:
                found = method.predict_next(u, y, context)
            if found is not None:
                answers[name] = (found, None, time.perf_counter() - started, True)
        return answers

    def _horizon(self, dataset: Dataset) -> int:
        horizon = dataset.steps - self.context if self.horizon is None else self.horizon
        if not (self.context >= 2 and horizon >= 1 and self.context + horizon <= dataset.steps):
            raise UserError(
                f"identify: expected a context of at least 2 and at least one step after it within the "
                f"{dataset.steps} steps of {dataset.directory}, got context {self.context} and horizon {horizon}"
            )
        if not all(2 <= length <= self.context for length in self.contexts):
            raise UserError(f"contexts: expected lengths of 2 .. {self.context}, got {self.contexts}")
        if not self.noise or not all(0 <= noise < float("inf") for noise in self.noise):
            raise UserError(f"noise: expected numbers of at least 0, got {self.noise}")
        if unknown := set(self.baselines) - set(IDENTIFIERS):
            raise UserError(f"baselines: expected some of {', '.join(IDENTIFIERS)}, got {', '.join(sorted(unknown))}")
        return horizon

    def _check(self, batch: SequenceBatch) -> None:
        """Raise a UserError unless every step is there and no signal of a context is constant."""
        if not bool(known_steps(batch).all()):
            raise UserError("identify: expected every step of context and horizon to be observed, but some are missing")
        for length in {self.context, *self.contexts}:
            for name, signal in (("action", batch.action), ("observation", batch.observation)):
                assert signal is not None
                part = signal[:, self.context - length : self.context].double()
                still = part.std(1) <= _CONSTANT * part.abs().amax(1)
                if bool(still.any()):
                    sequence, channel = still.nonzero()[0].tolist()
                    raise UserError(
                        f"identify: channel {channel} of {name!r} is constant over the {length} steps of the context of "
                        f"sequence {sequence} of its batch, so that nothing can be identified"
                    )


def _scores(truth: Tensor, mean: Tensor, deviation: Tensor | None) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return the value of each metric for every sequence, and which of them count."""
    error, spread = (truth - mean).square().mean(1), truth.var(1, correction=0)
    moving = (spread.sqrt() > _CONSTANT * truth.abs().amax(1)).all(1)
    share = error / spread.clamp(min=1e-300)
    scores: dict[str, tuple[Tensor, Tensor | None]] = {
        "rmse": (error.sqrt().mean(1), None),
        "nrmse": (share.sqrt().mean(1), moving),
        "fit_index": (100 * (1 - share.sqrt()).mean(1), moving),
        "r2": ((1 - share).mean(1), moving),
    }
    if deviation is not None:
        inside = (truth - mean).abs() <= _NINETY * deviation
        scores["coverage_90"] = (inside.double().mean((1, 2)), None)
    return scores
