"""``stochastic-bounces``: is a learned prior better than a fixed one, and a fixed one better than none (Denton & Fergus 2018)?

    dynarium reproduce stochastic-bounces --workers 2
    dynarium reproduce stochastic-bounces --methods lp fp --worlds digits --seeds 0

Every method sees the same worlds: two digits that bounce at random, and a robot's finger that pushes things, whose
strokes nobody announces, as on BAIR in that paper.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean, stdev
from typing import Any, Literal

from dynarium.recipes.experiment import Experiment
from dynarium.recipes.study import Claim, Record, check_words
from dynarium.recipes.svg import Tier, digits
from dynarium.recipes.video_benchmarks import push
from dynarium.tasks.forecast_video import ForecastVideo

METHODS = {
    "lp": "svg-lp",
    "fp": "svg-fp",
    "deterministic": "svg-deterministic",
    "srvp": "srvp",
    "prime": "svg-prime",
    "flow": "flow-video",
}
"""Method -> model."""

UNNORMALISED = ("flow",)
"""Methods without batch normalisation."""

WORLDS = {"digits": digits, "push": push}

ORDER = ("lp", "fp", "deterministic")
"""The claim: each is better than the next."""

BEST, CRPS, KNOWS = ("best-of-N", "psnr_mean"), ("ensemble", "crps_mean"), ("prior-deviation", "bounce_auc")
"""Method and metric of the rows that decide."""

SEEN = {"lag": 1}
"""A bounce shows a step later: a digit rests at the wall for a step."""

BATCH = {"statistics": "batch"}
"""Condition of the rows of forecasts with the statistics of the batch."""

BELIEFS = ("prior_deviation", "kl", "bounce_auc")
"""What is kept of the digits' bounces."""

CLEAR = 2.0
"""Standard errors by which means have to differ."""


@dataclass(frozen=True, kw_only=True)
class StochasticBounces:
    """The study of priors. What is left out is everything.

    Forecasts are asked for with the running averages of batch normalisation, and with the statistics of the batch, as the
    published samples were drawn.

    Tiers: ``cpu``: the recipes ``*-smmnist`` and ``*-push`` of that tier, 6 methods x 2 worlds a seed, asked about all frames
    after the context. ``paper``: their published sizes, for GPUs. ``smoke``: seconds, to see that it works.

    Attributes:
        methods: Some of lp, fp, deterministic, srvp, prime, flow.
        worlds: Some of digits, push.
        tier: ``smoke``, ``cpu`` or ``paper``.
    """

    methods: tuple[str, ...] = ()
    worlds: tuple[str, ...] = ()
    tier: Tier = "cpu"

    def __post_init__(self) -> None:
        """Check what is asked for.

        Raises:
            UserError: An unknown method or world.
        """
        check_words("methods", self.methods, METHODS)
        check_words("worlds", self.worlds, WORLDS)

    @property
    def name(self) -> str:
        """Name of the study; the tier is part of it."""
        return f"stochastic-bounces-{self.tier}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are kept."""
        return ("psnr", "psnr_mean", "ssim", "ssim_mean", "crps", "crps_mean", "crps_skill", "diversity_mean", *BELIEFS)

    @property
    def drawn(self) -> Literal["settings"]:
        """How the points are shown: a chart of every metric over the steps ahead, world by world."""
        return "settings"

    def conditions(self) -> Iterator[tuple[Mapping[str, str | float], Experiment[Any, Any]]]:
        """Yield each condition with its experiment, asked for forecasts, and of digits what it believes around bounces."""
        for world, make in WORLDS.items():
            for method, model in METHODS.items():
                if (not self.worlds or world in self.worlds) and (not self.methods or method in self.methods):
                    base = make(model, self.tier)
                    training = replace(base.training, trackers=())
                    asked = tuple(task for task in base.tasks if not getattr(task, "horizon", None))
                    if method not in UNNORMALISED:
                        forecasts = (task for task in asked if isinstance(task, ForecastVideo))
                        asked += tuple(replace(task, statistics="batch") for task in forecasts)
                    yield {"method": method, "world": world}, replace(base, training=training, tasks=asked)

    def points(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return every row with its world and statistics among its conditions, and who answered in which seed."""
        return [
            {
                **row,
                "condition": {"world": at["world"], **_statistics(row), **row["condition"]},
                "of": at["method"],
                "seed": record["seed"],
            }
            for record in records
            for at in (record["condition"],)
            for row in record["rows"]
        ]

    def claims(self, records: Sequence[Record]) -> list[Claim]:
        """Compare the priors, two at a time, world by world, by the best sample, by the whole distribution, at the bounce."""
        return [
            *(
                _better(records, first, second, world, words + with_, row, sign, drawn)
                for world in WORLDS
                for drawn, with_ in (({}, ""), (BATCH, ", statistics of the batch"))
                for words, row, sign in (("best of N, PSNR", BEST, 1), ("CRPS", CRPS, -1))
                for first, second in pairwise(ORDER)
            ),
            _better(records, "lp", "fp", "digits", "how well the prior's width tells a bounce, AUC", KNOWS, 1, {}),
        ]


def _statistics(row: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what batch normalisation was told to use for a row; nothing: what the model is set to."""
    return BATCH if row.get("task", "").endswith("-batch") else {}


def _better(
    records: Sequence[Record],
    first: str,
    second: str,
    world: str,
    words: str,
    row: tuple[str, str],
    sign: int,
    drawn: Mapping[str, str],
) -> Claim:
    """Hold the difference of two means against its standard error: over seeds, of a single seed over sequences."""
    statement = f"{world}: {first} better than {second} by {words} (by more than {CLEAR:g} standard errors)"
    found = [_numbers(records, method, world, row, drawn) for method in (first, second)]
    if not all(found):
        return Claim(statement=statement, holds=None, measured="not run")
    (a, a_error), (b, b_error) = (_pooled(numbers) for numbers in found)
    error = math.hypot(a_error, b_error)
    return Claim(
        statement=statement,
        holds=sign * (a - b) > CLEAR * error,
        measured=f"{a:.4g} against {b:.4g}, difference {a - b:+.2g} ± {error:.2g}",
    )


def _numbers(
    records: Sequence[Record], method: str, world: str, wanted: tuple[str, str], drawn: Mapping[str, str]
) -> list[tuple[float, float]]:
    """Return value and standard error of a row, seed by seed."""
    return [
        (row["value"], row["standard_error"])
        for record in records
        if record["condition"] == {"method": method, "world": world}
        for row in record["rows"]
        if (row["method"], row["metric"]) == wanted
        and _statistics(row) == drawn
        and SEEN.items() <= {**SEEN, **row["condition"]}.items()
    ]


def _pooled(numbers: Sequence[tuple[float, float]]) -> tuple[float, float]:
    values = [value for value, _ in numbers]
    return mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else numbers[0][1]
