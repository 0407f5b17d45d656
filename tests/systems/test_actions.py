import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.actions import RandomActions


def actions(n=200, steps=60, size=2, **options):
    return RandomActions(**options).draw(n, steps, size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["smooth", "steps"])
def test_actions_stay_in_their_range_and_differ(kind):
    drawn = actions(kind=kind, largest=1.5)
    assert drawn.shape == (200, 60, 2)
    assert 1.0 < drawn.abs().max() <= 1.5
    assert abs(drawn.mean()) < 0.1
    assert (drawn[0, :, 0] != drawn[0, :, 1]).any() and (drawn[0] != drawn[1]).any()


def test_steps_are_held():
    drawn = actions(kind="steps", hold=7)
    changes = (drawn.diff(dim=1) != 0).any(-1).any(0).nonzero()[:, 0] + 1
    assert changes.tolist() == [7, 14, 21, 28, 35, 42, 49, 56]


def test_smooth_actions_change_little_from_step_to_step():
    drawn = actions(kind="smooth", hold=10, largest=1.0)
    assert drawn.diff(dim=1).abs().max() <= 2 * torch.pi / 20
    assert drawn.std(1).mean() > 0.2


@pytest.mark.parametrize("option", [{"hold": 0}, {"largest": -1.0}])
def test_impossible_options_are_named(option):
    with pytest.raises(UserError, match=next(iter(option))):
        RandomActions(**option)
