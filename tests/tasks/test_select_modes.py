"""The number of modes is found where it is known; what is fitted is not what is scored."""

import math

import pytest
import torch

from dynarium.data import Dataset, write_arrays
from dynarium.errors import UserError
from dynarium.models.slds import SLDSConfig
from dynarium.models.slds_learning import EMConfig
from dynarium.tasks.select_modes import SelectModes

F64 = torch.float64


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two modes: spirals about two places."""
    torch.manual_seed(0)
    truth = SLDSConfig(modes=2, state=2, observation=4, recurrent=False).build()
    turn = torch.tensor([[0.9, -0.3], [0.3, 0.9]], dtype=F64)
    truth.assign(
        A=torch.stack([turn, turn.mT]),
        b=torch.tensor([[0.5, 0.0], [-0.5, 0.3]], dtype=F64),
        Q=0.01 * torch.eye(2, dtype=F64).repeat(2, 1, 1),
        S=torch.full((4,), 0.01, dtype=F64),
    )
    where = tmp_path_factory.mktemp("data") / "d"
    g = torch.Generator().manual_seed(0)
    arrays = {split: {"observation": truth.sample(12, 60, g)[0].numpy()} for split in ("train", "val", "test")}
    write_arrays(where, arrays)
    return Dataset(where)


def model():
    em = EMConfig(iterations=12, restarts=2, restart_iterations=12)
    return SLDSConfig(modes=3, state=2, observation=4, recurrent=False, em=em).build()


def test_the_true_number_of_modes_wins(dataset):
    result = SelectModes(modes=(1, 2, 3), batch_size=5).run(model(), dataset)
    found = {(row.method, row.condition["modes"]): row for row in result.rows}
    held_out = {k: found["held-out", k] for k in (1, 2, 3)}
    assert held_out[2].value > held_out[1].value + 0.1 and held_out[3].value < held_out[2].value + 0.02
    assert held_out[2].n == 12 and held_out[2].standard_error > 0
    assert found["fitted", 2].value != held_out[2].value
    assert found["gaussian", 2].baseline and found["gaussian", 2].value < held_out[1].value
    y = {split: dataset.batch(split, range(12)).observation.double() for split in ("train", "val")}
    flat = y["train"].flatten(0, 1)
    spread = torch.linalg.inv(flat.T.cov() + 1e-6 * torch.eye(4, dtype=F64))
    gap = y["val"].flatten(0, 1) - flat.mean(0)
    density = -0.5 * ((gap @ spread * gap).sum(1) - torch.logdet(spread) + 4 * math.log(2 * math.pi))
    assert found["gaussian", 2].value == pytest.approx(float(density.mean()), abs=1e-5)
    # The same as one by one: sequences of a batch do not depend on each other.
    alone = model().with_modes(2)
    alone.prepare([dataset.batch("train", range(12))], 0)
    per_step = alone.bound(dataset.batch("val", range(12))) / 60
    assert held_out[2].value == pytest.approx(float(per_step.mean()), abs=2e-4)


def test_what_cannot_be_asked(dataset):
    with pytest.raises(UserError, match="HasModes"):
        SelectModes().run(torch.nn.Linear(1, 1), dataset)
    with pytest.raises(UserError, match="train"):
        SelectModes(split="train")
    with pytest.raises(UserError, match="at least 1"):
        SelectModes(modes=(0, 1))
