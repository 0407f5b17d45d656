"""Identification: read inputs and outputs of a system never met, then predict its outputs; beside classical methods."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from dynarium.data import Dataset, make_dataset
from dynarium.errors import UserError
from dynarium.models.capabilities import Identifies, PredictsNext
from dynarium.tasks.classical import IDENTIFIERS, QUICK
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, known_steps
from dynarium.tasks.fitted_blocks import FittedWienerHammerstein
from dynarium.tasks.identifiers import Scaled, TooShortError
from dynarium.types import Result, SequenceBatch

_NINETY = 1.6449
"""Standard deviations to either side that hold 90 % of a Gaussian."""
_CONSTANT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Identify:
    """Identification from a context of inputs and outputs.

    ``simulation``: the outputs after the context, given the inputs there. ``one-step``: each output there given all inputs
    up to its step and all outputs before it. A model is asked what it can; the baselines are fitted to the context alone:
    ``last-value``, ``context-mean``, ridge regressions ``fir`` and ``arx`` (order and penalty chosen on the context's last
    quarter; for one-step predictions fitted anew every 100 steps), ``output-error`` (Steiglitz & McBride, orders averaged;
    simulation only) and ``subspace`` (PO-MOESP; simulation only); where asked for ``kalman-em`` (a linear-Gaussian
    state-space model by EM from there) and ``wiener-hammerstein`` (by Levenberg and Marquardt; simulation only). A baseline
    that a context is too short for is left out there, and the protocol of the result names it.

    Metrics, of each sequence and output, then averaged (over outputs, over sequences): ``rmse``; ``nrmse``, divided by the
    standard deviation of the true output; ``fit_index`` = 100 (1 - |y - yhat| / |y - mean y|); ``r2``; and where deviations
    are given ``coverage_90``, the share of outputs within the central 90 % of the stated Gaussian. ``seconds`` is the time
    for one system, in batches of ``batch_size``.

    Attributes:
        context: Steps that are given; ``None``: as many as the model was trained with, and of shorter sequences the same
            share; four fifths where it does not say.
        horizon: Steps to predict after them; ``None``: all the rest, but no more than the model can.
        contexts: Further lengths of the context; these are the last steps before the same horizon.
        noise: Standard deviations of white noise on the given outputs, in units of the standard deviation of the context's
            outputs; what is predicted is scored against the outputs as stored.
        baselines: Classical methods to ask too.
        fit_steps: Steps of ``wiener-hammerstein``.
        label: What tells this question from others of a run: part of its name.
        world: Ask about systems of this world instead of the dataset's; ``label`` then stands in the condition.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the noise.
    """

    context: int | None = None
    horizon: int | None = None
    contexts: tuple[int, ...] = ()
    noise: tuple[float, ...] = (0.0,)
    baselines: tuple[str, ...] = QUICK
    fit_steps: int = FittedWienerHammerstein.steps
    label: str = ""
    world: Any = None
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name; the label is part of it."""
        return f"identify-{self.label}" if self.label else "identify"

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
        if self.world is not None:
            with tempfile.TemporaryDirectory(prefix="dynarium-") as folder:
                sizes = {self.split: dataset.size(self.split) if self.sequences is None else self.sequences}
                made = make_dataset(self.world, Path(folder) / "data", sizes=sizes, seed=self.seed, workers=1)
                return self._asked(model, made, questions)
        return self._asked(model, dataset, questions)

    def _asked(self, model: Any, dataset: Dataset, questions: list[str]) -> Result:
        context, horizon = self._lengths(model, dataset, questions)
        tally, examples, short = Tally(), {}, {}
        generator = torch.Generator().manual_seed(self.seed)
        needs = ("action", "observation")
        for k, batch in enumerate(
            evaluation_batches(dataset, self.split, self.sequences, self.batch_size, needs=needs)
        ):
            batch, _ = cut(batch, context + horizon)
            self._check(batch, context)
            assert batch.observation is not None
            clean = batch.observation.double()
            white = torch.randn(clean.shape, dtype=torch.float64, generator=generator)
            scale = clean[:, :context].std(1, keepdim=True)
            for noise in self.noise:
                noisy = clean + noise * scale * white
                for length in sorted({context, *self.contexts}, reverse=True):
                    first = context - length
                    asked = replace(batch, mask=None, observation=noisy.float())
                    _, asked = cut(asked, first)
                    shown = {}
                    for question in questions:
                        condition: dict[str, Any] = {"question": question, "context": length, "noise": noise}
                        condition |= {"world": self.label} if self.world is not None else {}
                        answers, missing = self._answers(model, asked, question, length)
                        short |= {f"{question}, context {length}": ", ".join(missing)} if missing else {}
                        for method, (mean, deviation, seconds, baseline) in answers.items():
                            truth = clean[:, context:]
                            found = _scores(truth, mean, deviation)
                            found["seconds"] = (torch.full((len(truth),), seconds / len(truth)), None)
                            for metric, (values, weights) in found.items():
                                tally.add(method, metric, condition, values, weights, baseline=baseline)
                            shown[f"observation/{question}-{method}"] = mean[: self.shown]
                    if k == 0 and not examples:
                        examples = {"observation/truth": clean[: self.shown, context:], **shown}
        protocol = {"context_too_short_for": short} if short else {}
        return Result(task=self.name, rows=tally.rows(), examples=examples, protocol=protocol)

    def _answers(
        self, model: Any, batch: SequenceBatch, question: str, context: int
    ) -> tuple[dict[str, tuple[Tensor, Tensor | None, float, bool]], list[str]]:
        """Return mean, deviation and seconds of the model and of every baseline, and whether it is one.

        Also the names of the baselines that the context is too short for.
        """
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
        u, y, missing = batch.action.double(), batch.observation.double(), []
        for name in self.baselines:
            started, method = time.perf_counter(), self._method(name)
            try:
                if question == "simulation":
                    found = method.simulate(u[:, :context], y[:, :context], u[:, context:])
                else:
                    found = method.predict_next(u, y, context)
            except TooShortError:
                missing.append(name)
                continue
            if found is not None:
                answers[name] = (*found, time.perf_counter() - started, True)
        return answers, missing

    def _method(self, name: str) -> Scaled:
        found = IDENTIFIERS[name]
        if isinstance(found.method, FittedWienerHammerstein):
            return Scaled(replace(found.method, steps=self.fit_steps))
        return found

    def _lengths(self, model: Any, dataset: Dataset, questions: list[str]) -> tuple[int, int]:
        """Return the steps of context and horizon; what is left open follows the model."""
        options, steps = getattr(model, "config", None), dataset.steps
        most = getattr(options, "horizon", None) if "simulation" in questions else None
        context, horizon = self.context, self.horizon
        if context is None:
            usual = getattr(options, "context", None) if most is not None else None
            share = 0.8 if usual is None or most is None else usual / (usual + most)
            context = int(share * steps) if usual is None or most is None or steps < usual + most else usual
        if horizon is None:
            horizon = steps - context if most is None else min(steps - context, most)
        if not (context >= 2 and horizon >= 1 and context + horizon <= steps):
            raise UserError(
                f"identify: expected a context of at least 2 and at least one step after it within the {steps} steps of "
                f"{dataset.directory}, got context {context} and horizon {horizon}"
            )
        if not all(2 <= length <= context for length in self.contexts):
            raise UserError(f"contexts: expected lengths of 2 .. {context}, got {self.contexts}")
        if not self.noise or not all(0 <= noise < float("inf") for noise in self.noise):
            raise UserError(f"noise: expected numbers of at least 0, got {self.noise}")
        if unknown := set(self.baselines) - set(IDENTIFIERS):
            raise UserError(f"baselines: expected some of {', '.join(IDENTIFIERS)}, got {', '.join(sorted(unknown))}")
        if self.fit_steps < 1:
            raise UserError(f"fit_steps: expected at least 1, got {self.fit_steps}")
        return context, horizon

    def _check(self, batch: SequenceBatch, context: int) -> None:
        """Raise a UserError unless every step is there and no signal of a context is constant."""
        if not bool(known_steps(batch).all()):
            raise UserError("identify: expected every step of context and horizon to be observed, but some are missing")
        for length in {context, *self.contexts}:
            for name, signal in (("action", batch.action), ("observation", batch.observation)):
                assert signal is not None
                part = signal[:, context - length : context].double()
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
