"""``identify-compute``: what error does a meta-model reach with how much computing, beside the published one's?

    dynarium reproduce identify-compute --workers 2
    dynarium reproduce identify-compute --methods transformer residual --worlds lti --seeds 0

Every budget is a training of its own, with a schedule of its own. Its price is counted in floating-point operations of forward
and backward passes, products only; that of the published model likewise, times its published number of steps.
"""

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynarium.errors import UserError
from dynarium.models.residual_identifier import ResidualIdentifierConfig
from dynarium.models.sequence_identifier import lstm_identifier, state_space_identifier
from dynarium.models.simulation_transformer import SimulationTransformerConfig
from dynarium.objectives.schedules import Cosine
from dynarium.recipes.experiment import Experiment
from dynarium.recipes.identify import (
    LTI_SIMULATION,
    WH_SIMULATION,
    identify_lti_simulation,
    identify_wh_simulation,
    simulator,
)
from dynarium.recipes.study import Claim, Record, check_words
from dynarium.tasks.identify import Identify
from dynarium.types import SequenceBatch

METHODS = {
    "transformer": lambda: simulator("cpu"),
    "transformer-without-lags": lambda: replace(simulator("cpu"), lags=0),
    "state-space": state_space_identifier,
    "lstm": lstm_identifier,
    "residual": ResidualIdentifierConfig,
}
"""Method -> model."""

WORLDS = {"lti": identify_lti_simulation, "wh": identify_wh_simulation}
PUBLISHED = {"lti": (LTI_SIMULATION, 1_000_000), "wh": (WH_SIMULATION, 6_000_000)}
"""World -> published rows and the steps behind them; those of ``wh`` count the million on linear systems before."""

STEPS = (500, 1000, 2000, 4000)
SHARE = 0.1
"""The claim: the published error for so much of the published compute."""

LENGTH = 500
"""Steps of context and future together."""


@dataclass(frozen=True, kw_only=True)
class IdentifyCompute:
    """The study of compute. What is left out is everything.

    Tiers: ``cpu``: budgets of 500 to 4,000 steps of 32 sequences. ``smoke``: a few steps, to see that it works.

    Attributes:
        methods: Some of transformer, transformer-without-lags, state-space, lstm, residual.
        worlds: ``lti``, ``wh``.
        steps: Budgets; none: those of the tier.
        tier: ``cpu`` or ``smoke``.
    """

    methods: tuple[str, ...] = ()
    worlds: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    tier: Literal["smoke", "cpu"] = "cpu"

    def __post_init__(self) -> None:
        """Check what is asked for.

        Raises:
            UserError: An unknown method or world, or a budget of no steps.
        """
        check_words("methods", self.methods, METHODS)
        check_words("worlds", self.worlds, WORLDS)
        if self.steps and min(self.steps) < 1:
            raise UserError(f"--steps: expected numbers of at least 1, got {min(self.steps)}")

    @property
    def name(self) -> str:
        """Name of the study; the tier is part of it."""
        return f"identify-compute-{self.tier}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are kept."""
        return ("rmse", "fit_index")

    @property
    def drawn(self) -> Literal["settings"]:
        """How the points are shown: a chart of every metric over the compute, world by world."""
        return "settings"

    def conditions(self) -> Iterator[tuple[Mapping[str, str | float], Experiment[Any, Any]]]:
        """Yield each condition with its experiment, asked without noise."""
        for world, make in WORLDS.items():
            for method, model in METHODS.items():
                if (self.worlds and world not in self.worlds) or (self.methods and method not in self.methods):
                    continue
                for steps in self.steps or ((2, 4) if self.tier == "smoke" else STEPS):
                    base = make("smoke" if self.tier == "smoke" else "cpu")
                    training = replace(
                        base.training,
                        steps=steps,
                        learning_rate=Cosine(value=1e-3, warmup=max(1, steps // 20), until=steps, end=5e-5),
                        validate_every=steps,
                        checkpoint_every=min(500, steps),
                        media_every=steps,
                        keep="last",
                        trackers=(),
                    )
                    condition = {"method": method, "world": world, "steps": steps}
                    yield condition, replace(base, model=model(), training=training, tasks=(Identify(),), before=None)

    def points(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return every row over its compute, and the published error over its own."""
        found = []
        for world in dict.fromkeys(record["condition"]["world"] for record in records):
            error, price = published(world)
            row = {"method": "model", "metric": "rmse", "value": error, "standard_error": math.nan, "n": 256}
            at = {"condition": {"world": world, "petaflop": price}, "of": "published", "seed": records[0]["seed"]}
            found.append({**row, **at, "baseline": False})
        for record in records:
            at = record["condition"]
            price = compute(at["method"], at["steps"])
            of = {"of": at["method"], "seed": record["seed"]}
            found += [{**row, "condition": {"world": at["world"], "petaflop": price}, **of} for row in record["rows"]]
        return found

    def claims(self, records: Sequence[Record]) -> list[Claim]:
        """Hold every method's error against the published one, at no more than a tenth of the published compute."""
        claims = []
        for world in WORLDS:
            wanted, least = published(world)
            for method in METHODS:
                errors: dict[float, list[float]] = {}
                for record in records:
                    at = record["condition"]
                    if (at["method"], at["world"]) == (method, world):
                        value = [row["value"] for row in record["rows"] if _model_error(row)]
                        errors.setdefault(compute(method, at["steps"]), []).extend(value)
                statement = f"{world}: {method} reaches the published {wanted:g} with {SHARE:.0%} of its compute"
                reached = {price: mean(values) for price, values in errors.items()}
                within = {price: error for price, error in reached.items() if price <= SHARE * least}
                if not within:
                    claims.append(Claim(statement=statement, holds=None, measured="not run"))
                    continue
                price = min(within, key=lambda p: within[p])
                measured = f"{within[price]:.3g} for {price:.3g} of {least:.3g} petaflop ({price / least:.2%})"
                claims.append(Claim(statement=statement, holds=within[price] <= wanted, measured=measured))
        return claims


def published(world: str) -> tuple[float, float]:
    """Return the published error without noise, and its price in petaflop."""
    rows, steps = PUBLISHED[world]
    error = next(r.value for r in rows if r.method == "model" and r.condition.get("noise") == 0)
    return error, compute("published", steps)


def compute(method: str, steps: int) -> float:
    """Return the price of a training in petaflop, of 32 sequences a step."""
    return float(f"{32 * steps * operations(method) / 1e15:.3g}")


@functools.cache
def operations(method: str) -> float:
    """Return the floating-point operations of a model's loss and gradients for one sequence, those of products."""
    config = SimulationTransformerConfig(bias=True) if method == "published" else METHODS[method]()
    with torch.random.fork_rng(devices=[]):
        batch = SequenceBatch(action=torch.randn(1, LENGTH, 1), observation=torch.randn(1, LENGTH, 1))
        model = config.build()
        # Fused kernels are not counted; what they are made of is.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False):
                model.loss(batch, 0)[0].backward()
    return float(counter.get_total_flops())


def _model_error(row: Mapping[str, Any]) -> bool:
    return row["method"] == "model" and row["metric"] == "rmse" and math.isfinite(row["value"])
