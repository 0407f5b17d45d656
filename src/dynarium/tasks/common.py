"""What the tasks share: batches of a split, capabilities, sums over sequences."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from dynarium.data import STEPPED, Dataset, few_shot_batches
from dynarium.errors import UserError
from dynarium.metrics.estimate import ratio_estimate
from dynarium.nn.frames import as_float
from dynarium.types import Row, SequenceBatch


def evaluation_batches(
    dataset: Dataset,
    split: str,
    sequences: int | None,
    batch_size: int,
    *,
    shots: int = 0,
    context_seed: int = 0,
    needs: tuple[str, ...] = ("video",),
) -> Iterator[SequenceBatch]:
    """Yield the first ``sequences`` sequences of a split, as they are stored.

    With ``shots``, each has that many other, whole sequences of its task as its context, and these are not asked about.

    Raises:
        UserError: The dataset lacks a field that the task needs, or has no such split; or no tasks, where there are shots.
    """
    dataset.size(split)
    for name in needs:
        if name not in dataset.shapes:
            raise UserError(
                f"{dataset.directory}: this task needs the field {name!r}; the dataset has {', '.join(dataset.shapes)}"
            )
    return few_shot_batches(dataset, split, shots=shots, batch_size=batch_size, seed=context_seed, sequences=sequences)


def frames_of(batch: SequenceBatch) -> Tensor:
    """Return the frames of a batch as floating point in [0, 1], on the CPU."""
    assert batch.video is not None
    return as_float(batch.video)


def known_steps(batch: SequenceBatch) -> Bool[Tensor, "b t"]:
    """Return which steps the data hold: within the sequence's length, and not missing. Only these are given and scored."""
    stepped = batch.observation if batch.video is None else batch.video
    assert stepped is not None
    known = batch.observed()
    return torch.ones(stepped.shape[:2], dtype=torch.bool, device=stepped.device) if known is None else known


def data_record(dataset: Dataset) -> dict[str, Any]:
    """Return what a protocol says of the data: name, hash, and of digits where they are from."""
    return {
        "name": dataset.directory.name,
        "content_hash": dataset.schema.content_hash,
        "glyphs": _found_in(dataset.schema.generator, "glyphs"),
    }


def _found_in(values: Mapping[str, Any], name: str) -> Any:
    """Return the first value called ``name`` in nested mappings; ``None`` where there is none."""
    if name in values:
        return values[name]
    inner = (_found_in(value, name) for value in values.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def need(model: Any, capability: type, task: str) -> None:
    """Check that a model has a capability.

    Raises:
        UserError: It has not.
    """
    if not isinstance(model, capability):
        raise UserError(f"task {task}: {type(model).__name__} does not have the capability {capability.__name__}")


def device_of(model: Any) -> torch.device:
    """Return where a model lives; the CPU for one without parameters."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def cut(batch: SequenceBatch, step: int) -> tuple[SequenceBatch, SequenceBatch]:
    """Cut a batch into its steps before ``step`` and those from it on; lengths become part of the masks.

    The sequences of its ``context`` stay whole in both.
    """
    if batch.length is not None:
        batch = replace(batch, mask=known_steps(batch), length=None)
    fields = {name: value for name, value in batch.present().items() if name in STEPPED}
    first, rest = (
        {name: value[:, part] for name, value in fields.items()} for part in (slice(step), slice(step, None))
    )
    return replace(batch, **first), replace(batch, **rest)


class Tally:
    """Collects sums and counts of every sequence, by row, and turns them into rows."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str, tuple[tuple[str, Any], ...], bool], list[tuple[Tensor, Tensor]]] = {}

    def add(
        self,
        method: str,
        metric: str,
        condition: dict[str, Any],
        values: Tensor,
        weights: Tensor | None = None,
        *,
        baseline: bool = False,
    ) -> None:
        """Add values [b, t] of a batch, or one [b] a sequence, counted where ``weights`` is true (default: everywhere)."""
        counted = torch.ones_like(values) if weights is None else weights.to(values.dtype)
        sums = torch.where(counted > 0, values, 0.0) * counted  # what does not count may be NaN
        key = method, metric, tuple(condition.items()), baseline
        part = (sums, counted) if values.ndim == 1 else (sums.sum(1), counted.sum(1))
        self._parts.setdefault(key, []).append(part)

    def rows(self) -> tuple[Row, ...]:
        """Return one row for everything that was added, in the order in which it first was."""
        rows = []
        for (method, metric, condition, baseline), parts in self._parts.items():
            sums, counts = (torch.cat(column) for column in zip(*parts, strict=True))
            value, error, n = ratio_estimate(sums, counts)
            rows.append(
                Row(
                    method=method,
                    metric=metric,
                    condition=dict(condition),
                    value=value,
                    standard_error=error,
                    n=n,
                    baseline=baseline,
                )
            )
        return tuple(rows)
