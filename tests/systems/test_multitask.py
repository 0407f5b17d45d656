from dataclasses import replace

import pytest
import torch

from dynarium.data import make_dataset
from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.ball import BouncingBall
from dynarium.systems.multitask import MultiTask
from dynarium.systems.pong import Pong
from dynarium.systems.sets import gravity_ball
from worlds import Drift


def test_sequences_are_dealt_out_in_turn_from_wherever_a_block_begins():
    world = MultiTask(worlds=tuple(gravity_ball(k) for k in (0, 4, 8)))
    made = draw(world, 8, 5, seeded(0), first=256)
    assert made["task"].tolist() == [(256 + i) % 3 for i in range(8)]


def test_a_dataset_has_as_many_sequences_of_every_task(tmp_path):
    dataset = make_dataset(WORLDS["gravity-3"](), tmp_path / "g", sizes={"train": 600, "test": 30}, steps=3)
    task = dataset.read("train", range(600), fields=["task"])["task"]
    assert [(task == k).sum() for k in range(3)] == [200, 200, 200]


def test_a_ball_falls_where_the_gravity_of_its_task_pulls():
    world = WORLDS["gravity-16"]()
    made = draw(world, 64, 3, seeded(1))
    state, pull = made["state"].double(), made["parameter"].double()
    angle = 2 * torch.pi * made["task"].double() / 16
    torch.testing.assert_close(pull, 2.5 * torch.stack([angle.cos(), angle.sin()], -1), rtol=0, atol=1e-6)
    free = ((state[..., :2] > 6) & (state[..., :2] < 26)).all((1, 2))  # no wall in reach: the fall is free
    assert free.any()
    gained = (state[free, 1, 2:] - state[free, 0, 2:]) / world.dt
    torch.testing.assert_close(gained, pull[free], rtol=0, atol=1e-4)


def test_tasks_that_differ_only_in_gravity_are_simulated_as_one():
    world = WORLDS["gravity-16"]()
    assert len(world._simulators(world.deal(0, 64, seeded(0)))) == 1


def test_one_task_is_the_world_itself():
    ball = gravity_ball(4)
    alone, dealt = draw(ball, 9, 7, seeded(3)), draw(MultiTask(worlds=(ball,)), 9, 7, seeded(3))
    assert dealt.pop("task").tolist() == [0] * 9
    assert alone.keys() == dealt.keys()
    assert all(torch.equal(alone[name], dealt[name]) for name in alone)


def test_worlds_of_different_states_steps_and_parameters_are_padded():
    made = draw(MultiTask(worlds=(gravity_ball(0), Pong(), Drift(side=32))), 7, 4, seeded(0))
    assert made["state"].shape == (7, 4, 6)
    assert not made["state"][0, :, 4:].any()
    assert made["state"][1].all()
    assert made["dt"][:3, 0].tolist() == pytest.approx([0.25, Pong().dt, Drift().dt])
    assert made["video"].shape == (7, 4, 1, 32, 32)
    assert made["video"].flatten(1).any(1).all()


def test_shapes_do_not_depend_on_which_tasks_a_draw_happens_to_hold():
    world = WORLDS["mixed-physics-2025"]()
    few, many = draw(world, 1, 3, seeded(0)), draw(world, 12, 3, seeded(0))
    assert {name: value.shape[1:] for name, value in few.items()} == {name: v.shape[1:] for name, v in many.items()}
    assert {name: value.dtype for name, value in few.items()} == {name: v.dtype for name, v in many.items()}
    assert few["state"].shape == (1, 3, 8) and not few["derivative"].any()


def test_worlds_that_are_equations_can_be_tasks():
    made = draw(MultiTask(worlds=(WORLDS["duffing"](), WORLDS["lotka-volterra"]())), 4, 3, seeded(0))
    assert made["task"].tolist() == [0, 1, 0, 1] and made["parameter"].shape == (4, 4)  # three names are shared


def test_side_reaches_every_world():
    world = replace(WORLDS["gravity-3"](), side=16)
    assert draw(world, 3, 2, seeded(0))["video"].shape[-2:] == (16, 16)
    assert replace(world, side=8).worlds[0].side == 8


@pytest.mark.parametrize(
    ("worlds", "message"),
    [((), "at least one world"), ((MultiTask(worlds=(BouncingBall(),)),), "none of which")],
)
def test_impossible_sets_are_refused(worlds, message):
    with pytest.raises(UserError, match=message):
        MultiTask(worlds=worlds)


def test_frames_of_different_sides_are_refused():
    world = MultiTask(worlds=(BouncingBall(), BouncingBall(side=16)))
    with pytest.raises(UserError, match="give all the same side"):
        draw(world, 2, 2, seeded(0))


def test_every_stored_parameter_has_its_name(tmp_path):
    dataset = make_dataset(WORLDS["mixed-physics-2023"](), tmp_path / "m", sizes={"train": 24}, steps=2)
    names = dataset.schema.fields["parameter"].names
    read = dataset.read("train", range(24))
    assert len(names) == read["parameter"].shape[-1]
    friction = read["parameter"][:, names.index("friction")]
    assert friction[read["task"] == 7] == pytest.approx(0.15)
    assert not friction[read["task"] < 4].any()
