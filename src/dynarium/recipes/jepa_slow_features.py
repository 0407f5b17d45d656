"""``jepa-slow-features``: which objectives still find the moving dot when the picture is noisy (Sobal et al. 2022).

    dynarium reproduce jepa-slow-features --workers 2
    dynarium reproduce jepa-slow-features --methods vicreg contrast --noise fixed-uniform --levels 0 1 --seeds 0
    dynarium reproduce jepa-slow-features --tier paper --backend dask --scheduler tcp://...

Every method sees the same worlds: no noise, four kinds of noise at several levels, and three dots, of which the action moves
the first and the third never moves. Numbers are errors of a linear probe, in pixels.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Literal

from dynarium.errors import UserError, nearest
from dynarium.recipes.experiment import Experiment
from dynarium.recipes.jepa import METHODS, dots, shortened
from dynarium.recipes.jepa_table import TABLE, noisy, published
from dynarium.recipes.study import Claim, Record
from dynarium.systems.dots import MovingDots, moving_dots
from dynarium.tasks.probe_rollout import ProbeRollout

KINDS = ("changing-uniform", "fixed-uniform", "changing-structured", "fixed-structured")
NOISE = (*KINDS, "three-dots")
"""Kinds of noise, and a world with other dots instead of it. Level 0 belongs to every kind and is run once."""

LEVELS = (0.0, 0.5, 1.0, 2.0)

STEPS = 250
"""Optimiser steps of the tier ``cpu``."""

FINDS, LOST = 0.5, 0.8
"""A method finds the dot when its error is below that share of the constant answer's; the dot is lost above the other."""

JEPAS = ("vicreg", "simclr")

Key = tuple[str, str, float]


@dataclass(frozen=True, kw_only=True)
class JEPASlowFeatures:
    """The noise study. What is left out is everything.

    Tiers: ``cpu``: the recipes ``dots-*`` (tier ``cpu``) with 250 steps, the same options at every level; probes are fitted
    on 2,500 sequences and scored on 1,000. 10 methods x (13 levels and kinds + three dots) x 3 seeds = 420 cells, 42 of
    them untrained: 10.5 core hours of an AMD EPYC in bfloat16, five hours on two cores with ``--workers 2``.
    ``paper``: the 144 published configurations, at their levels, with their schedules (days on a CPU; for a cluster).
    ``smoke``: two steps, to see that it works.

    Attributes:
        methods: Some of vicreg, simclr, sigreg, contrast, pldm, idm, reconstruction, rssm, supervised, random.
        noise: Some of changing-uniform, fixed-uniform, changing-structured, fixed-structured, three-dots.
        levels: Levels of the noise; 1 is as bright as the middle of the dot.
        tier: ``cpu``, ``paper`` or ``smoke``.
    """

    methods: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    tier: Literal["smoke", "cpu", "paper"] = "cpu"

    def __post_init__(self) -> None:
        """Check what is asked for.

        Raises:
            UserError: An unknown method or kind of noise, or a level that is negative or (``paper``) was not published.
        """
        known = [*TABLE, "reconstruction"] if self.tier == "paper" else list(METHODS)
        for name, asked, offered in (("methods", self.methods, known), ("noise", self.noise, NOISE)):
            for word in asked:
                if word not in offered:
                    raise UserError(
                        f"--{name}: unknown {word!r}{nearest(word, list(offered))}; tier {self.tier} has {', '.join(offered)}"
                    )
        for level in self.levels:
            if not math.isfinite(level) or level < 0:
                raise UserError(f"--levels: expected numbers of at least 0, got {level:g}")
            if self.tier == "paper" and not any(level in rows for kinds in TABLE.values() for rows in kinds.values()):
                raise UserError(f"--levels: nothing was published at {level:g}; known: {_published_levels()}")
        if self.tier == "paper" and "three-dots" in self.noise:
            raise UserError("--noise: no configuration was published for 'three-dots'; the tier cpu has it")

    @property
    def name(self) -> str:
        """Name of the study; the tier is part of it."""
        return f"jepa-slow-features-{self.tier}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are kept; the first one is drawn."""
        return ("rmse_px", "rmse_px_rollout", "rmse_px_start", "rmse_px_dot", "r2_rollout")

    @property
    def drawn(self) -> Literal["noise"]:
        """How the points are shown: errors against the level, a panel for each kind of noise."""
        return "noise"

    def conditions(self) -> Iterator[tuple[Mapping[str, str | float], Experiment[Any, MovingDots]]]:
        """Yield each condition with its experiment."""
        offered = [m for m in METHODS if m in TABLE or m == "reconstruction"] if self.tier == "paper" else METHODS
        for noise, level in self._worlds():
            for method in offered:
                if self.methods and method not in self.methods:
                    continue
                if self.tier == "paper" and not _is_published(method, noise, level):
                    continue
                condition = {"method": method, "noise": noise, "level": level}
                yield condition, self._experiment(method, noise, level)

    def _worlds(self) -> list[tuple[str, float]]:
        """Return kinds and levels; what has no noise is ``none``."""
        if self.tier == "paper":
            levels = sorted({x for kinds in TABLE.values() for rows in kinds.values() for x in rows})
        else:
            levels = (0.0, 1.0) if self.tier == "smoke" else LEVELS
        levels = self.levels or tuple(levels)
        asked = self.noise or (KINDS if self.tier == "paper" else NOISE)
        kinds = [kind for kind in KINDS if kind in asked]
        found: list[tuple[str, float]] = [("none", 0.0)] if 0 in levels and kinds else []
        found += [(kind, level) for level in sorted(levels) if level for kind in kinds]
        return [*found, *([("three-dots", 0.0)] if "three-dots" in asked else [])]

    def _experiment(self, method: str, noise: str, level: float) -> Experiment[Any, MovingDots]:
        if self.tier == "paper":
            base = published(method, noise, level)
        else:
            base = dots(method)
            world = moving_dots() if noise == "three-dots" else noisy(noise, level, base.world)
            steps = 2 if self.tier == "smoke" else STEPS
            training = base.training if method == "random" else shortened(base.training, steps)
            training = replace(training, validate_every=steps, checkpoint_every=100)
            base = replace(base, world=world, data=replace(base.data, train=2500, test=1000), training=training)
        if self.tier == "smoke":
            data = replace(base.data, train=512, val=64, test=128, workers=1)
            training = replace(base.training, batch_size=16, precision="float32")
            base = replace(base, data=data, training=training)
        return replace(base, training=replace(base.training, trackers=()), tasks=(ProbeRollout(),))

    def points(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return the error of every record, and the trivial answers' once."""
        found: list[dict[str, Any]] = []
        for record in records:
            at = record["condition"]
            kind, _, source = str(at["noise"]).partition("-")
            if at["noise"] == "three-dots":
                continue
            where = {"noise": kind, "source": source, "level": at["level"], "seed": record["seed"]}
            for row in record["rows"]:
                if row["metric"] == self.metrics[0] and row["method"] == "rollout":
                    number = {"value": row["value"], "standard_error": row["standard_error"]}
                    found.append(where | number | {"method": at["method"]})
        for method in ("constant", "hold-first", "dead-reckoning"):
            values = [v for record in records if (v := _value(record, method, self.metrics[0])) is not None]
            if values and found:
                found.append({"method": method, "noise": "none", "level": 0.0, "value": values[0], "baseline": True})
        return found

    def claims(self, records: Sequence[Record]) -> list[Claim]:
        """Hold the claims of the paper, and of what came after it, against the numbers."""
        share = {key: _shares(found) for key, found in _grouped(records).items()}
        changing, fixed = KINDS[::2], KINDS[1::2]
        return [
            _claim(f"JEPAs ({', '.join(JEPAS)}) ignore changing noise", share, JEPAS, changing, below=FINDS),
            _claim(f"fixed noise of 1 and above captures JEPAs ({', '.join(JEPAS)})", share, JEPAS, fixed, above=LOST),
            _degrades(share),
            _claim("inverse dynamics survives all noise", share, ("idm",), KINDS, below=FINDS),
            _claim("supervised learning survives all noise", share, ("supervised",), KINDS, below=FINDS),
            _claim("contrast within a trajectory survives fixed noise", share, ("contrast",), fixed, below=FINDS),
            *(_still(records, method) for method in JEPAS),
        ]


def _claim(
    statement: str,
    share: Mapping[Key, list[float]],
    methods: Sequence[str],
    kinds: Iterable[str],
    *,
    below: float = math.inf,
    above: float = 0.0,
) -> Claim:
    """Judge by the worst condition: the mean over seeds of the error, as a share of the constant answer's."""
    least = 1.0 if above else 0.0
    found = {key: mean(x) for key, x in share.items() if key[0] in methods and key[1] in kinds and key[2] >= least}
    rule = f"errors above {above:g}" if above else f"errors below {below:g}"
    statement = f"{statement} ({rule} of the constant answer's)"
    if not found:
        return Claim(statement=statement, holds=None, measured="not run")
    worst = min(found, key=lambda k: found[k]) if above else max(found, key=lambda k: found[k])
    holds = above < found[worst] < below
    measured = f"{'least' if above else 'largest'} {found[worst]:.2f} ({worst[0]}, {worst[1]} {worst[2]:g})"
    return Claim(statement=statement, holds=holds, measured=f"{measured}; {len(found)} conditions")


def _degrades(share: Mapping[Key, list[float]]) -> Claim:
    """Compare reconstruction up to a level of 1.5 with that beyond, kind by kind: half as much again is worse."""
    statement = "reconstruction degrades above a level of 1.5 (errors there 1.5 times those up to it, for every kind)"
    ratios = {}
    for kind in KINDS:
        low, high = (
            [mean(x) for (m, k, level), x in share.items() if m == "reconstruction" and k == kind and test(level)]
            for test in ((lambda level: 0 < level <= 1.5), (lambda level: level > 1.5))
        )
        if low and high:
            ratios[kind] = mean(high) / mean(low)
    if not ratios:
        return Claim(statement=statement, holds=None, measured="not run")
    measured = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items())
    return Claim(statement=statement, holds=min(ratios.values()) > 1.5, measured=measured)


def _still(records: Sequence[Record], method: str) -> Claim:
    """Of three dots, is the one that never moves known better than those that do?"""
    statement = f"of three dots, {method} keeps the still one (its error below half of each moving one's)"
    of_dot: dict[int, list[float]] = {}
    for record in records:
        if record["condition"]["noise"] == "three-dots" and record["condition"]["method"] == method:
            for row in record["rows"]:
                if row["metric"] == "rmse_px_dot" and row["method"] == "rollout":
                    of_dot.setdefault(row["condition"]["dot"], []).append(row["value"])
    if len(of_dot) < 3:
        return Claim(statement=statement, holds=None, measured="not run")
    errors = {dot: mean(values) for dot, values in of_dot.items()}
    holds = errors[3] < 0.5 * min(errors[1], errors[2])
    measured = ", ".join(f"{name} {errors[k]:.2f} px" for k, name in ((1, "acting"), (2, "moving"), (3, "still")))
    return Claim(statement=statement, holds=holds, measured=measured)


def _grouped(records: Sequence[Record]) -> dict[Key, list[Record]]:
    groups: dict[Key, list[Record]] = {}
    for record in records:
        at = record["condition"]
        groups.setdefault((at["method"], at["noise"], at["level"]), []).append(record)
    return groups


def _shares(records: Sequence[Record]) -> list[float]:
    """Return each seed's error as a share of the constant answer's."""
    pairs = [(_value(r, "rollout", "rmse_px"), _value(r, "constant", "rmse_px")) for r in records]
    return [ours / trivial for ours, trivial in pairs if ours is not None and trivial]


def _value(record: Record, method: str, metric: str) -> float | None:
    return next((r["value"] for r in record["rows"] if r["method"] == method and r["metric"] == metric), None)


def _is_published(method: str, noise: str, level: float) -> bool:
    rows = TABLE["rssm" if method == "reconstruction" else method]
    return level in rows[noise if level else KINDS[0]]


def _published_levels() -> str:
    return ", ".join(f"{x:g}" for x in sorted({x for kinds in TABLE.values() for rows in kinds.values() for x in rows}))
