"""A model of its own for every task: what a meta-learned or a global model is measured against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.slvm import SLVMConfig
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class PerTaskConfig:
    """Options of the bank of models.

    Attributes:
        model: The model that every task gets, with weights of its own.
        tasks: Number of tasks.
    """

    model: SLVMConfig = field(default_factory=lambda: SLVMConfig(conditioning="none"))
    tasks: int = 16

    def __post_init__(self) -> None:
        if self.tasks < 1:
            raise UserError(f"model.tasks: expected at least 1, got {self.tasks}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "PerTaskConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``task``, or not what the model needs.
        """
        if "task" not in shapes:
            raise UserError(f"per-task needs the field 'task'; the data has {', '.join(shapes) or 'no fields'}")
        return replace(self, model=self.model.fitted(shapes))

    def build(self) -> "PerTask":
        """Create the models."""
        return PerTask(self)


class PerTask(nn.Module):
    """Separate models, one a task; each sees the sequences of its own task only.

    They share nothing: with batches of one task each, this trains each of them exactly as if it were alone.
    """

    def __init__(self, config: PerTaskConfig) -> None:
        super().__init__()
        self.models = nn.ModuleList(config.model.build() for _ in range(config.tasks))

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean over sequences of the losses of their tasks' models."""
        total, terms = torch.zeros((), device=self._task(batch).device), {}
        for model, mine in self._parts(batch):
            share = len(mine) / len(batch)
            loss, named = model.loss(batch.select(mine), step)
            total = total + share * loss
            for name, value in named.items():
                terms[name] = terms.get(name, 0.0) + share * value
        return total, terms

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return what each task's model encodes; one task's representation means nothing to another's."""
        found = self._each(batch, lambda model, part: model.encode(part)["z"], axis=0)
        return {"z": found}

    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f c h w"]:
        """Return the forecasts of each task's model."""

        def ask(model: Any, part: SequenceBatch) -> Tensor:
            return model.forecast(part, horizon, samples=samples, generator=generator)

        return self._each(context, ask, axis=1)

    def _each(self, batch: SequenceBatch, ask: Callable[[Any, SequenceBatch], Tensor], axis: int) -> Tensor:
        parts = [(mine, ask(model, batch.select(mine))) for model, mine in self._parts(batch)]
        order = torch.cat([mine for mine, _ in parts]).argsort()
        return torch.cat([answer for _, answer in parts], axis).index_select(axis, order)

    def _parts(self, batch: SequenceBatch) -> Iterator[tuple[Any, Int[Tensor, " n"]]]:
        task = self._task(batch)
        for k in task.unique().tolist():
            if not 0 <= k < len(self.models):
                raise UserError(f"task: expected 0 .. {len(self.models) - 1}, got {k}")
            yield self.models[k], (task == k).nonzero()[:, 0]

    def _task(self, batch: SequenceBatch) -> Tensor:
        if batch.task is None:
            raise UserError("per-task needs the field 'task'; the batch has none")
        return batch.task
