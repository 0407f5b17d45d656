"""Where a question's sequences come from: a stored dataset, or a world that makes them as they are asked for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dynarium import config
from dynarium.data import Dataset, OnlineSource
from dynarium.data.dataset import BATCH_FIELDS, as_batch
from dynarium.data.generate import draw, seeded
from dynarium.data.schema import BLOCK
from dynarium.errors import UserError
from dynarium.systems import System
from dynarium.tasks.common import evaluation_batches
from dynarium.types import SequenceBatch

Origin = Dataset | OnlineSource | System
"""A dataset, a world, or a source of a world's batches (then with its length of sequences, its seed and its device)."""


MADE = 1000
"""Sequences that are asked for of a world where no number is given."""


def sequences_of(
    origin: Origin, split: str, sequences: int | None, batch_size: int, *, needs: tuple[str, ...] = ("video",)
) -> Iterator[SequenceBatch]:
    """Yield up to ``sequences`` sequences of a split; ``None``: all of a dataset, 1000 of a world.

    A world makes those that a dataset of its seed (0, or that of the source) would hold: they depend on (world, seed, split,
    index) alone, and are never those that an ``OnlineSource`` trains on.

    Raises:
        UserError: There is no such split, or no such field.
    """
    if isinstance(origin, Dataset):
        yield from evaluation_batches(origin, split, sequences, batch_size, needs=needs)
        return
    source = origin if isinstance(origin, OnlineSource) else None
    world, seed, device = (origin, 0, "cpu") if source is None else (source.world, source.seed, source.device)
    world = as_of(world, split)
    steps = world.steps if source is None else source.steps
    sequences = MADE if sequences is None else sequences
    for block in range(-(-sequences // BLOCK)):
        generator = seeded(seed, split, block, device=device)
        made = draw(world, BLOCK, steps, generator, first=block * BLOCK)
        for name in needs:
            if name not in made:
                raise UserError(
                    f"{type(world).__name__}: this task needs the field {name!r}; the world gives {', '.join(made)}"
                )
        batch = as_batch({name: value for name, value in made.items() if name in BATCH_FIELDS})
        count = min(BLOCK, sequences - block * BLOCK)
        for chosen in torch.arange(count).split(batch_size):
            yield batch.select(chosen)


def as_of(world: Any, split: str) -> Any:
    """Return a world as it makes a split: some show pictures in one that they do not in another."""
    return world.of_split(split) if hasattr(world, "of_split") else world


def world_of(origin: Origin, task: str) -> System:
    """Return the world itself, or the one of which a dataset says that it was made.

    Raises:
        UserError: The dataset was imported: nothing says how its world goes on.
    """
    if isinstance(origin, OnlineSource):
        return origin.world
    if not isinstance(origin, Dataset):
        return origin
    described = origin.schema.generator
    if "class" not in described:
        raise UserError(
            f"{task}: expected a dataset made from a world, as it needs that world; {origin.directory} was imported"
        )
    return config.from_dict(described)


def actions_of(batch: SequenceBatch, task: str) -> Tensor:
    """Return the actions between the steps of a batch [b, t - 1, a].

    Raises:
        UserError: There are none.
    """
    stepped: Any = batch.video if batch.video is not None else batch.state
    if batch.action is None:
        raise UserError(
            f"{task}: expected a world with actions, as the model imagines what follows from them; it has none"
        )
    return batch.action[:, : stepped.shape[1] - 1]


def without_mask(batch: SequenceBatch, task: str) -> SequenceBatch:
    """Return the batch, whole.

    Raises:
        UserError: Some frames are missing.
    """
    if batch.observed() is not None:
        raise UserError(f"{task}: expected whole sequences, got some with missing frames")
    return replace(batch, mask=None, length=None)
