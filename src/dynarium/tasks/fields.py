"""Where a system drives its state, and where a model thinks it does: what the report's vector fields are drawn from."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynarium.data import Dataset
from dynarium.models.capabilities import Encodes, HasVectorField, Segments
from dynarium.tasks.common import device_of, known_steps

CELLS = 16
"""An arrow at most in each of so many cells along each side of the picture."""
TRAIN_SEQUENCES, TEST_SEQUENCES = 30, 30


@torch.no_grad()
def vector_field_arrays(model: Any, dataset: Dataset, names: Int[Tensor, " k"], *, split: str) -> dict[str, Tensor]:
    """Return true and inferred steps, modes and one path in the world's first and last dimension; empty where unknown.

    The model's states are those of the world up to an affine map: the regression of the true states of training sequences
    on the model's. The true step from a state is the one that the data take, the inferred one that of the mode which the
    model has lead out of it. ``names`` says which true mode a mode of the model stands for; any other for none, -1.

    Returns:
        ``field/place``, ``field/step/<who>``, ``field/mode/<who>`` of every arrow, ``field/path/<who>`` and
        ``field/path-mode/<who>`` of one sequence, who being ``true`` and ``inferred``; and ``field/dimensions``.
    """
    shapes = dataset.shapes
    able = all(isinstance(model, capability) for capability in (HasVectorField, Encodes, Segments))
    if not able or dataset.steps < 2 or shapes.get("state", (0, 0))[-1] < 2:
        return {}
    train = dataset.batch("train" if "train" in dataset.schema.splits else split, range(TRAIN_SEQUENCES))
    test = dataset.batch(split, range(min(TEST_SEQUENCES, dataset.size(split))))
    assert train.state is not None and test.state is not None and test.mode is not None
    device = device_of(model)
    back, offset = _affine(_states(model, train, device)[known_steps(train)], train.state[known_steps(train)].double())
    plane = torch.tensor([0, shapes["state"][-1] - 1])
    state, mode, known = test.state.double(), test.mode.long(), known_steps(test)
    path = model.segment(test.to(device)).cpu()
    out_of = torch.cat([path[:, 1:], path[:, -1:]], 1)
    going = known[:, :-1] & known[:, 1:]  # steps whose next one is known
    place, step, at, taken = (x[going] for x in (state[:, :-1], state.diff(dim=1), mode[:, :-1], out_of[:, :-1]))
    chosen = _spread(place[:, plane])
    place, step, at, taken = place[chosen], step[chosen], at[chosen], taken[chosen]
    inside = torch.linalg.lstsq(back, (place - offset).mT, driver="gelsd").solution.mT
    moved = model.vector_field(inside.to(device), taken.to(device))[0].cpu()
    found = _states(model, test, device)[0] @ back.mT + offset
    names = torch.cat([names, names.new_full((int(path.max()) + 1,), -1)])
    return {
        "field/dimensions": plane,
        "field/place": place[:, plane],
        "field/step/true": step[:, plane],
        "field/step/inferred": (moved @ back.mT)[:, plane],
        "field/mode/true": at,
        "field/mode/inferred": names[taken],
        "field/path/true": state[0][known[0]][:, plane],
        "field/path/inferred": found[known[0]][:, plane],
        "field/path-mode/true": mode[0][known[0]],
        "field/path-mode/inferred": names[out_of[0][known[0]]],
    }


def _states(model: Encodes, batch: Any, device: torch.device) -> Float[Tensor, "b t n"]:
    return next(iter(model.encode(batch.to(device)).values())).double().cpu()


def _affine(x: Float[Tensor, "m n"], y: Float[Tensor, "m o"]) -> tuple[Float[Tensor, "o n"], Float[Tensor, " o"]]:
    """Return matrix and offset of the regression of y on x."""
    design = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    weights = torch.linalg.lstsq(design, y, driver="gelsd").solution
    return weights[:-1].mT, weights[-1]


def _spread(points: Float[Tensor, "m 2"]) -> Int[Tensor, " r"]:
    """Return the numbers of the points nearest to the middles of the cells that any point is in, one a cell."""
    low, high = points.amin(0), points.amax(0)
    scaled = (points - low) / (high - low).clamp(min=1e-12) * CELLS
    cell = scaled.floor().clamp(max=CELLS - 1)
    number = (cell[:, 0] * CELLS + cell[:, 1]).long()
    order = (scaled - cell - 0.5).norm(dim=1).argsort(stable=True)
    first = torch.full((CELLS * CELLS,), -1)
    first[number[order.flip(0)]] = order.flip(0)  # the nearest one is written last
    return first[first >= 0]
