"""Rows of results, as they stand in a run's JSON files, grouped into panels: one metric, one kind of setting."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["model", "bound", "baseline"]

BOUNDS = (
    "reconstruction",
    "posterior",
    "data",
    "true-model",
    "true-dynamics",
    "fitted",
    "wall-nearness",
    "pixels-linear",
)
"""Methods that see what the others must infer, or are the truth itself: bounds, never counted as the model's best."""

CLASSICAL = ("fir", "arx", "output-error", "subspace", "kalman-em", "wiener-hammerstein")
"""Baselines that are methods in their own right; all others are trivial."""

BELIEFS = ("kl", "prior_deviation")
"""Metrics that say what a model believes, and not how good that is; nothing bounds them."""

HIGHER_IS_BETTER = frozenset(
    [
        "accuracy",
        "auc",
        "r2",
        "ssim",
        "psnr",
        "elbo",
        "likelihood",
        "correlation",
        "success",
        "reward",
        "valid",
        "fit",
        "skill",
    ]
)
"""Words in a metric's name that say that more is better; of every other metric less is better."""

OF_THE_ANSWER = frozenset({"samples"})
"""Conditions that say how a method answered, not what it was asked: methods that differ in them stand side by side."""


def baseline_tag(method: str) -> str:
    """Return what a baseline is called beside its name."""
    return "classical" if method in CLASSICAL else "trivial"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured number. ``kind`` tells the model, a bound that sees the answer, and a trivial baseline apart.

    ``interval`` holds the bounds of a 95 % interval that were measured with it (rows ``<metric>_low`` and ``<metric>_high``).
    """

    method: str
    metric: str
    condition: dict[str, Any]
    value: float
    standard_error: float
    n: int
    kind: Kind
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The records of one metric under one kind of setting.

    Attributes:
        metric: Name of the metric.
        fixed: The part of the condition that all records share, e.g. ``{"mask": "random"}``.
        axis: Names of the condition that varies, e.g. ``("p",)``; empty if none does.
        settings: Values of the axis, sorted, e.g. ``((0.2,), (0.5,))``.
        methods: Method -> kind: first the model's, then the bounds, then the trivial baselines.
        points: (method, setting) -> record.
    """

    metric: str
    fixed: dict[str, Any]
    axis: tuple[str, ...]
    settings: tuple[tuple[Any, ...], ...]
    methods: dict[str, Kind]
    points: dict[tuple[str, tuple[Any, ...]], Record]

    @property
    def title(self) -> str:
        """The metric in words and what is fixed, e.g. ``wrong pixels missing · mask random``."""
        return " · ".join([words(self.metric), *(f"{words(k)} {number(v)}" for k, v in self.fixed.items())])

    def label(self, setting: tuple[Any, ...]) -> str:
        """Name a setting, e.g. ``p = 0.5``; ``value`` where nothing varies."""
        return ", ".join(f"{words(k)} = {number(v)}" for k, v in zip(self.axis, setting, strict=True)) or "value"

    def at(self, setting: tuple[Any, ...], kind: Kind) -> list[Record]:
        """Return the finite records of one kind at a setting, best first."""
        found = [self.points[m, setting] for m, k in self.methods.items() if k == kind and (m, setting) in self.points]
        finite = [record for record in found if math.isfinite(record.value)]
        return sorted(finite, key=lambda record: record.value, reverse=higher_is_better(self.metric))


def record_of(row: Any) -> Record:
    """Read a row, a mapping or a ``types.Row``; what is missing or null becomes NaN, zero or empty."""
    given: Mapping[str, Any] = row if isinstance(row, Mapping) else asdict(row)
    method, metric = str(given.get("method", "?")), str(given.get("metric", "?"))
    bound = method in BOUNDS and not metric.startswith(BELIEFS)
    kind: Kind = "baseline" if given.get("baseline") else "bound" if bound else "model"
    condition = given.get("condition")
    return Record(
        method=method,
        metric=metric,
        condition=dict(condition) if isinstance(condition, Mapping) else {},
        value=_float(given.get("value")),
        standard_error=_float(given.get("standard_error")),
        n=int(_float(given.get("n"), 0.0)),
        kind=kind,
    )


def panels(rows: Iterable[Any]) -> list[Panel]:
    """Group rows by metric, and within it by the words of their condition (the kind of mask), as they come."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in with_intervals(rows):
        texts = tuple((k, v) for k, v in sorted(record.condition.items()) if not _is_number(v))
        # Settings of different names (p, steps) are different questions even where the kind of mask is not said.
        numbers = tuple(sorted(k for k, v in record.condition.items() if _is_number(v)))
        groups.setdefault((record.metric, str(texts), numbers), []).append(record)
    metrics = list(dict.fromkeys(metric for metric, *_ in groups))
    return [_panel(groups[key]) for key in sorted(groups, key=lambda key: metrics.index(key[0]))]


def higher_is_better(metric: str) -> bool:
    """Tell from a metric's name whether more is better."""
    parts = metric.lower().replace("-", "_").split("_")
    return "negative" not in parts and not HIGHER_IS_BETTER.isdisjoint(parts)


def is_ordered(metric: str) -> bool:
    """Tell whether a metric ranks methods.

    A coverage should be what it is named for, samples as diverse as what may happen, and time is a price, not a merit.
    """
    return not metric.startswith(("coverage", "diversity", *BELIEFS)) and metric != "seconds"


def words(name: str) -> str:
    """Turn a name into words: ``wrong_pixels_missing`` into ``wrong pixels missing``."""
    return name.replace("_", " ")


def number(value: Any) -> str:
    """Write a setting: ``0.5``, ``3``, ``random``."""
    return f"{value:g}" if _is_number(value) else str(value)


def with_intervals(rows: Iterable[Any]) -> list[Record]:
    """Read rows; the bounds of an interval, rows of their own in the files, become part of their record."""
    records = [record_of(row) for row in rows]
    keys = [(record.method, record.metric, str(sorted(record.condition.items()))) for record in records]
    keyed = dict(zip(keys, records, strict=True))
    folded, bounds = set(), {}
    for method, metric, setting in keyed:
        low, high = ((method, f"{metric}_{end}", setting) for end in ("low", "high"))
        if low in keyed and high in keyed:
            bounds[method, metric, setting] = keyed[low].value, keyed[high].value
            folded |= {low, high}
    return [
        replace(record, interval=bounds.get(key))
        for key, record in zip(keys, records, strict=True)
        if key not in folded
    ]


def _panel(records: list[Record]) -> Panel:
    conditions = [record.condition for record in records]
    mixed = {k for k in OF_THE_ANSWER if len({c.get(k) for c in conditions}) > 1}
    conditions = [{k: v for k, v in condition.items() if k not in mixed} for condition in conditions]
    varying = [k for k in conditions[0] if len({str(condition.get(k)) for condition in conditions}) > 1]
    if not varying:  # a single setting: still name it in the column if it is a number
        varying = [k for k, v in conditions[0].items() if _is_number(v)][:1]
    settings = {tuple(condition.get(k) for k in varying) for condition in conditions}
    order: tuple[Kind, ...] = ("model", "bound", "baseline")
    return Panel(
        metric=records[0].metric,
        fixed={k: v for k, v in conditions[0].items() if k not in varying},
        axis=tuple(varying),
        settings=tuple(sorted(settings, key=lambda s: tuple((not _is_number(v), v) for v in s))),
        methods={r.method: r.kind for kind in order for r in records if r.kind == kind},
        points={(r.method, tuple(r.condition.get(k) for k in varying)): r for r in records},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: Any, missing: float = math.nan) -> float:
    try:
        result = float(value)
    except (TypeError, ValueError):
        return missing
    return result if math.isfinite(result) else missing
