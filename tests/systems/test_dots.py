import math
from dataclasses import replace

import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.data.source import OnlineSource
from dynarium.errors import UserError
from dynarium.systems.dots import MovingDots, moving_dot, moving_dots
from dynarium.systems.noise import Noise
from dynarium.types import Trajectory


def play(world, n=64, seed=0):
    generator = seeded(seed)
    return world.simulate(world.sample_parameters(n, generator), world.steps, generator)


def error(difference):
    """Return the root of the mean squared Euclidean distance."""
    return float(difference.square().sum(-1).mean().sqrt())


def test_the_reference_figures_of_the_original_study():
    """Errors of trivial predictors; 20,000 sequences scatter by .02 px and .14 %, and so does what is expected."""
    drawn = play(moving_dot(), n=40_000)
    state, action = drawn.state, drawn.action
    assert error(state - state.mean((0, 1))) == pytest.approx(9.37, abs=0.06)
    assert error(state - state[:, :1]) == pytest.approx(5.80, abs=0.06)
    reckoned = torch.cat([state[:, :1], state[:, :1] + action[:, :-1].cumsum(1)], 1)
    assert error(state - reckoned) == pytest.approx(2.98, abs=0.08)
    walls = ((state == 2.6) | (state == 28 - 1 - 2.6)).any(-1).double().mean()
    assert float(walls) == pytest.approx(0.162, abs=0.005)
    assert float(action.std()) == pytest.approx(4 / math.sqrt(6), abs=0.01)
    towards = action[:, :16] / action[:, :16].norm(dim=-1, keepdim=True)
    assert float(towards.mean(1).norm(dim=-1).mean()) == pytest.approx(0.24, abs=0.01)


def test_the_first_position_is_uniform_and_actions_have_uniform_lengths():
    drawn = play(moving_dot(), n=20_000)
    first = drawn.state[:, 0]
    assert first.min() >= 2.6 and first.max() <= 24.4
    torch.testing.assert_close(first.std(0), torch.full((2,), 21.8 / math.sqrt(12)).double(), rtol=0.02, atol=0)
    length = drawn.action.norm(dim=-1)
    assert length.max() <= 4 and float(length.mean()) == pytest.approx(2, abs=0.02)
    assert float(length.std()) == pytest.approx(4 / math.sqrt(12), abs=0.02)


def test_frames_are_floating_point_with_the_normalised_peak():
    made = draw(moving_dot(), 64, 17, seeded(0))
    assert made["video"].dtype == torch.float32 and made["video"].shape == (64, 17, 1, 28, 28)
    assert float(made["video"].max()) == pytest.approx(0.0942, abs=1e-4)
    row, column = made["video"].flatten(3).argmax(-1)[..., 0] // 28, made["video"].flatten(3).argmax(-1)[..., 0] % 28
    assert (torch.stack([column, row], -1) - made["state"]).abs().max() <= 0.5 + 1e-5


def test_three_dots_of_which_the_last_stands_still():
    drawn = play(moving_dots())
    assert drawn.state.shape == (64, 17, 6) and drawn.action.shape == (64, 17, 2)
    assert (drawn.state[:, :, 4:] == drawn.state[:, :1, 4:]).all() and (
        drawn.state[:, 1:, :4] != drawn.state[:, :-1, :4]
    ).any()
    each = moving_dots().render(drawn)
    summed = replace(moving_dots(), channels="sum").render(drawn)
    assert each.shape[2] == 3 and summed.shape[2] == 1
    torch.testing.assert_close(each.sum(2, keepdim=True), summed)


def test_one_direction_for_a_sequence_if_straight():
    action = play(MovingDots(motion="straight")).action
    angle = torch.atan2(action[..., 1], action[..., 0])
    torch.testing.assert_close(angle, angle[:, :1].expand_as(angle))
    assert action.norm(dim=-1).std(1).min() > 0.3


@pytest.mark.parametrize("controlled", ["first", "all"])
def test_replaying_the_actions_gives_the_states(controlled):
    world = replace(moving_dots(), controlled=controlled)
    drawn = play(world)
    state = drawn.state[:, 0]
    for t in range(16):
        state = world.transition(state, drawn.action[:, t], drawn.parameter)
        mine = slice(None) if controlled == "all" else slice(2)
        torch.testing.assert_close(state[:, mine], drawn.state[:, t + 1, mine])
    if controlled == "first":
        assert (state[:, 2:] == drawn.state[:, 0, 2:]).all()


def test_a_longer_action_is_shortened_and_a_wall_stops_only_across():
    world = moving_dot()
    there = world.transition(
        torch.tensor([[10.0, 10.0]]).double(), torch.tensor([[6.0, 8.0]]).double(), torch.empty(1, 0).double()
    )
    torch.testing.assert_close(there, torch.tensor([[12.4, 13.2]]).double())
    there = world.transition(
        torch.tensor([[24.0, 10.0]]).double(), torch.tensor([[2.0, 2.0]]).double(), torch.empty(1, 0).double()
    )
    torch.testing.assert_close(there, torch.tensor([[24.4, 12.0]]).double())


def test_the_way_is_straight():
    start, goal = torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[6.0, 8.0]]).double()
    assert moving_dot().shortest_path(start, goal, torch.empty(1, 0).double()).tolist() == [5.0]


def test_an_online_source_is_endless_the_same_for_a_seed_and_different_for_every_rank():
    def first(**options):
        source = OnlineSource(MovingDots(noise=Noise(changing=1.0)), batch_size=8, batches_per_epoch=2, **options)
        return next(source.batches(0))

    batch = first()
    assert batch.video.dtype == torch.float32 and batch.video.shape == (8, 17, 1, 28, 28)
    assert torch.equal(batch.video, first().video)
    assert not torch.equal(batch.video, first(seed=1).video)
    ranks = [first(rank=rank, world_size=2) for rank in (0, 1)]
    assert len(ranks[0]) == 4 and not torch.equal(ranks[0].state, ranks[1].state)
    assert not torch.equal(ranks[0].parameter, ranks[1].parameter)


def test_frames_never_leave_the_unit_interval():
    world = MovingDots(noise=Noise(changing=5.0))
    video = draw(world, 64, 17, seeded(0))["video"]
    assert video.min() >= 0 and 0.4 < video.max() < 1 and video.max() * world.gain <= 1
    with pytest.raises(UserError, match="brightness: expected at most 0.59"):
        replace(moving_dots(), channels="sum", noise=Noise(fixed=5.0))
    dim = replace(moving_dots(), channels="sum", noise=Noise(fixed=5.0), brightness=0.5)
    assert draw(dim, 8, 17, seeded(0))["video"].max() < 1


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="still: expected at most the 1 dots, got 2"):
        MovingDots(still=2)
    with pytest.raises(UserError, match="side: a dot of std 1.3 px has no room in a frame of 5 px"):
        MovingDots(side=5)
    with pytest.raises(UserError, match="max_step: expected a number of at least 0, got -1"):
        MovingDots(max_step=-1.0)
    with pytest.raises(UserError, match="trajectory.parameter"):
        MovingDots(noise=Noise(fixed=1.0)).render(Trajectory(state=torch.zeros(1, 1, 2).double()))
