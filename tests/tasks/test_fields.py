"""The arrays that vector fields are drawn from: right for a model that knows all, absent for one that has none."""

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, write_arrays
from dynarium.reporting.rows import record_of
from dynarium.tasks.fields import CELLS, vector_field_arrays
from dynarium.tasks.segment import Segment

TURN = np.array([[0.98, -0.2], [0.2, 0.98]])
MAP = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
"""From the world's states to the model's, which are also shifted by 3."""


def arrays(n, seed, t=40):
    """Two modes by turns: a rotation one way and the other."""
    g = np.random.default_rng(seed)
    mode = (np.arange(t) // 10 + g.integers(2, size=(n, 1))) % 2
    states = [g.normal(size=(n, 2))]
    for i in range(t - 1):
        turn = np.where(mode[:, i, None, None] == 0, TURN, TURN.T)
        states.append(np.einsum("bij,bj->bi", turn, states[-1]))
    state = np.stack(states, 1)
    return {"observation": state.astype(np.float32), "state": state, "mode": mode}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where = tmp_path_factory.mktemp("data") / "d"
    write_arrays(where, {"train": arrays(40, 0), "test": arrays(30, 1)})
    return Dataset(where)


class Knowing:
    """Knows states and modes in coordinates and by names of its own; mode t of the world leads into its step t + 1."""

    def encode(self, batch):
        return {"x": batch.state.double() @ MAP.mT + 3}

    def segment(self, batch):
        mode = 1 - batch.mode.long()
        return torch.cat([mode[:, :1], mode[:, :-1]], 1)

    def vector_field(self, x, mode=None):
        state = torch.linalg.solve(MAP, (x - 3).mT).mT
        turns = torch.from_numpy(np.stack([TURN.T, TURN]))[mode]
        return ((turns @ state[..., None])[..., 0] - state) @ MAP.mT, mode


def test_a_model_that_knows_all_has_the_true_field(dataset):
    found = vector_field_arrays(Knowing(), dataset, torch.tensor([1, 0]), split="test")
    torch.testing.assert_close(found["field/step/inferred"], found["field/step/true"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["field/path/inferred"], found["field/path/true"], rtol=0, atol=1e-5)
    assert torch.equal(found["field/mode/inferred"], found["field/mode/true"])
    assert torch.equal(found["field/path-mode/inferred"][:-1], found["field/path-mode/true"][:-1])
    assert found["field/dimensions"].tolist() == [0, 1]
    place = found["field/place"]
    cells = ((place - place.amin(0)) / (place.amax(0) - place.amin(0)) * CELLS).floor()
    assert 30 < len(place) <= CELLS**2 and len(cells.unique(dim=0)) > 0.9 * len(place)


def test_modes_without_a_name(dataset):
    found = vector_field_arrays(Knowing(), dataset, torch.tensor([1]), split="test")
    assert set(found["field/mode/inferred"].tolist()) == {1, -1}


def test_segmentation_leaves_the_field_for_the_report(dataset):
    examples = Segment(shifts=(0, 1)).run(Knowing(), dataset).examples
    assert torch.equal(examples["field/mode/inferred"], examples["field/mode/true"])


def test_a_model_without_a_field_leaves_none(dataset):
    class Segmenting:
        def segment(self, batch):
            return batch.mode.long()

    assert vector_field_arrays(Segmenting(), dataset, torch.tensor([0, 1]), split="test") == {}
    assert not any(name.startswith("field") for name in Segment().run(Segmenting(), dataset).examples)


def test_bounds_are_called_so():
    for method, kind in (("true-model", "bound"), ("fitted", "bound"), ("held-out", "model")):
        assert record_of({"method": method, "metric": "log_likelihood", "value": 1.0}).kind == kind
