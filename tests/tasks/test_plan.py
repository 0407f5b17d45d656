"""Planning: a model that knows the law reaches its goals, one that sees nothing does not; walls; counts; repetition."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from dynarium.data import Dataset, make_dataset
from dynarium.errors import UserError
from dynarium.metrics.intervals import wilson
from dynarium.systems.dots import MovingDots
from dynarium.systems.noise import Noise
from dynarium.tasks import TASKS
from dynarium.tasks.acting import Ways, act, problems_of
from dynarium.tasks.plan import TOLERANCES, Plan
from dynarium.tasks.planners import CEM, ICEM, MPPI, GradientMPC
from dynarium.tasks.policies import Searching, latent_costs, straight_policy
from point import Knows, Point

WORLD, WALL = Point(), Point(wall=True)
PLAN = Plan(
    planner=CEM(samples=64, elites=8, iterations=4),
    horizon=5,
    steps=10,
    tolerances=(0.5, 1.5),
    sequences=16,
    probed=40,
    shown=2,
)


@pytest.fixture(scope="module")
def result():
    return PLAN.run(Knows(WORLD), WORLD)


def table(result, tolerance=1.5):
    return {(r.method, r.metric): r for r in result.rows if r.condition.get("tolerance_px", tolerance) == tolerance}


def value(result, method, metric):
    return next(r.value for r in result.rows if (r.method, r.metric) == (method, metric))


def test_who_knows_the_law_comes_to_the_goal(result):
    rows = table(result)
    assert rows["latent", "success_final"].value == 1.0 == rows["true-dynamics", "success_final"].value
    assert rows["straight-line", "success_final"].value == 1.0 and rows["straight-line", "success_final"].baseline
    assert rows["random", "success_final"].value < 0.5
    assert rows["straight-line", "path_excess"].value == pytest.approx(0, abs=1e-9)
    for method in ("latent", "true-dynamics", "random"):
        assert rows[method, "path_excess"].value >= -1e-9
    assert rows["straight-line", "steps_to_goal"].value <= rows["latent", "steps_to_goal"].value < 8
    assert rows["latent", "imagined_steps"].value == 10 * 64 * 4 * 5
    low, high = (rows["random", f"success_any_{side}"].value for side in ("low", "high"))
    share = rows["random", "success_any"]
    assert (low, high) == pytest.approx(wilson(round(16 * share.value), 16)) and share.n == 16
    assert share.value >= rows["random", "success_final"].value
    assert share.condition == {"tolerance_px": 1.5, "steps": 10, "horizon": 5, "replan": 1, "candidates": 256}
    # What is closer is rarer.
    assert table(result, 0.5)["random", "success_any"].value <= share.value


def test_runs_repeat_and_seeds_differ(result):
    again, other = (task.run(Knows(WORLD), WORLD) for task in (PLAN, replace(PLAN, seed=1, sequences=2, shown=0)))
    assert [repr(r) for r in result.rows] == [repr(r) for r in again.rows]
    assert value(result, "random", "final_distance_px") != value(other, "random", "final_distance_px")


def test_a_blind_model_is_no_better_than_chance():
    rows = table(replace(PLAN, probed=0).run(Knows(WORLD, blind=True), WORLD))
    assert rows["latent", "success_final"].value < 0.5


@pytest.mark.parametrize(
    "planner",
    [ICEM(samples=48, elites=6, iterations=3), MPPI(samples=96, iterations=3), GradientMPC(samples=2, iterations=8)],
    ids=["icem", "mppi", "gradient"],
)
def test_every_planner_and_cost_comes_to_the_goal(planner):
    for cost, distance in (("sum", "euclidean"), ("last", "squared")):
        task = replace(PLAN, planner=planner, cost=cost, distance=distance, shown=0, sequences=3)
        result = task.run(Knows(WORLD), WORLD)
        assert table(result)["latent", "success_any"].value == 1.0, (cost, distance)
        assert result.task == f"plan-{type(planner).__name__.lower()}" + ("-last" if cost == "last" else "")


def test_around_a_wall():
    """Behind the wall the straight line fails; a planner that knows the shortest ways passes the door.

    A latent that is the position has no way but straight to the goal for its cost: it gets stuck at times, yet less often
    than where it does not even know the wall.
    """
    task = replace(
        PLAN,
        horizon=12,
        steps=16,
        sequences=6,
        detour=1.05,
        shown=0,
        planner=ICEM(samples=128, elites=12, iterations=4),
    )
    rows = table(task.run(Knows(WALL), WALL))
    assert rows["straight-line", "success_any"].value < 0.3 < 0.8 < rows["true-dynamics", "success_any"].value
    patient = replace(
        task, distance="saturating", near=2, planner=replace(task.planner, hold=5, colour=0.0, spread=1.0)
    )
    assert (
        table(patient.run(Knows(WALL), WALL))["latent", "success_any"].value
        >= rows["latent", "success_any"].value + 0.3
    )
    with pytest.raises(UserError, match="plan.near: expected fewer steps"):
        replace(patient, near=500).run(Knows(WALL), WALL)
    naive = table(task.run(Knows(WORLD), WALL))  # it does not know the wall
    assert naive["latent", "success_any"].value < rows["latent", "success_any"].value


def problems(world=WORLD, n=6, steps=10, **changes):
    options = {"dims": (0, 1), "distance": 0.0, "detour": 1.0, "seed": 0, "split": "test"} | changes
    return problems_of(world, n, steps, **options)


def test_problems_are_as_asked():
    far = problems(n=40, distance=6.0)
    assert (far.distance(far.start) >= 6).all()
    round_the_wall = problems(WALL, n=40, detour=1.2)
    shortest = round_the_wall.shortest(round_the_wall.start, round_the_wall.goal)
    assert (shortest >= 1.2 * round_the_wall.distance(round_the_wall.start)).all()
    assert not torch.equal(problems(split="val").start, problems().start)
    assert 1.5 < problems().limit < 2.0  # the longest that was drawn; a world may name it
    assert replace(problems(), world=SimpleNamespace(max_action=2.45)).limit == 2.45


@pytest.mark.parametrize("noise", [Noise(fixed=1.0, speed=1.0), Noise(fixed=0.5, speed=0.4, changing=1.0)])
def test_a_planner_sees_the_frames_that_a_whole_sequence_has(noise):
    """Overlays that move, too."""
    world = MovingDots(noise=noise)
    these = problems(world)
    film, which = world.render(these.drawn), torch.arange(6)
    frames = [these.frames(these.drawn.state[:, t], which, t) for t in range(11)]
    assert torch.equal(torch.cat(frames, 1), film)
    some = torch.tensor([4, 1])
    assert not torch.equal(these.frames(these.start[some], some, 5), film[some, :1])


def test_ways_are_the_shortest_ones_but_for_a_pixel():
    these = problems(WALL, n=40)
    state = problems(WALL, n=40, seed=1).start
    which = torch.arange(40)
    ways = Ways(these)
    exact, near = WALL.shortest_path(state, these.goal, these.parameters), ways(state, which)
    straight = these.distance(state) == exact
    assert 5 < int(straight.sum()) < 35
    assert float((near - exact).abs().max()) < 0.75 and torch.equal(near, ways(state, which))
    assert float((near - exact)[straight & (near == these.distance(state))].abs().max()) == 0
    assert int(ways.known.sum()) == 40


def test_how_many_are_imagined_at_once_changes_nothing():
    """The limit on memory cuts the candidates into calls, and leaves their costs alone."""

    class Counting(Knows):
        calls = 0

        def imagine(self, start, action):
            self.calls += 1
            return super().imagine(start, action)

    found, calls = [], []
    candidates = torch.randn(6, 3000, 5, 2, generator=torch.Generator().manual_seed(0))
    for memory in (64, 1):
        model, these = Counting(WORLD), problems()
        cost = latent_costs(model, these, over="sum", distance="squared", memory=memory)(
            0, these.start, torch.arange(6)
        )
        found.append(cost(candidates))
        calls.append(model.calls)
    assert torch.allclose(*found, atol=1e-6) and calls[0] == 1 < calls[1]


def test_the_model_alone_imagines_in_low_precision():
    class Watched(Knows):
        low: ClassVar[list[bool]] = []

        def imagine(self, start, action):
            self.low.append(torch.is_autocast_enabled("cpu"))
            return super().imagine(start, action)

    task = replace(PLAN, precision="bfloat16", shown=0)
    result = task.run(Watched(WORLD), WORLD)
    assert all(Watched.low) and table(result)["true-dynamics", "success_final"].value == 1.0
    Watched.low.clear()
    replace(task, precision="float32").run(Watched(WORLD), WORLD)
    assert not any(Watched.low)


def test_an_episode_ends_at_the_goal_and_stays():
    these = problems()
    episodes = act(these, straight_policy(these, 2.0), 10, stop=1.0)
    distance = these.distance(episodes.state)
    came, first = episodes.reached(distance, 1.0)
    assert came.all() and episodes.state.shape == (6, 11, 2)
    for b in range(6):
        assert (episodes.state[b, first[b] :] == episodes.state[b, first[b]]).all()
        assert (distance[b, : first[b]] > 1).all()


def test_a_plan_is_carried_out_before_the_next_look():
    these, model = problems(), Knows(WORLD)
    costs = latent_costs(model, these, over="sum", distance="squared", memory=64)
    policy = Searching(PLAN.planner, costs, these, horizon=5, replan=3, limit=2.0, warm=True, seed=0)
    episodes = act(these, policy, 10)
    assert sorted(policy.plans) == [0, 3, 6, 9]
    x = these.start
    for t in range(3):
        x = WORLD.transition(x, policy.plans[0][:, t].double(), these.parameters)
        assert torch.allclose(episodes.state[:, t + 1], x)


def test_pictures_show_belief_and_plan(result):
    shown = result.examples
    assert shown["scene"].shape == (2, 11, 1, 16, 16) and float(shown["scene"].max()) <= 1
    assert shown["marks/goal"].shape == shown["marks/truth"].shape == shown["marks/belief"].shape == (2, 11, 2)
    assert shown["ahead/plan"].shape == (2, 11, 5, 2)
    assert float((shown["marks/belief"] - shown["marks/truth"]).abs().max()) < 0.3
    # The first plan leads where the dot then goes, and its end is near the goal.
    assert float((shown["ahead/plan"][:, 0, 0] - shown["marks/truth"][:, 1]).abs().max()) < 0.3
    assert {"path/true-dynamics", "path/random", "path/straight-line"} <= shown.keys()


def test_published_tolerances_and_the_world_of_a_dataset(tmp_path):
    make_dataset(WORLD, tmp_path / "d", sizes={"train": 4, "test": 4})
    task = replace(PLAN, tolerances=None, sequences=2, steps=2, shown=0)
    rows = task.run(Knows(WORLD), Dataset(tmp_path / "d")).rows
    seen = {r.condition["tolerance_px"] for r in rows if r.metric == "success_final"}
    assert seen == {round(16 * share, 3) for share in TOLERANCES} == {0.348, 1.108, 1.143}
    assert TASKS["plan"] is Plan


def test_errors_are_one_line(tmp_path):
    class Fixed:
        """A world one can only watch."""

        side = 16

    class Still(Point):
        def simulate(self, parameters, steps, generator):
            return replace(super().simulate(parameters, steps, generator), action=None)

    for model, task, world, words in [
        (WORLD, PLAN, WORLD, "plan: Point does not have the capability Imagines"),
        (Knows(WORLD), replace(PLAN, world=Fixed()), WORLD, "can be acted in .with transition., got Fixed"),
        (Knows(WORLD), PLAN, Still(), "a world with actions, got Still"),
        (Knows(WORLD), replace(PLAN, apart=99.0), WORLD, "too few goals"),
        (
            Knows(WORLD),
            replace(PLAN, dims=(0, 7)),
            WORLD,
            r"plan\.dims: expected different ones of the 2 .* got \(0, 7\)",
        ),
        (Knows(WORLD), replace(PLAN, dims=(1, 1)), WORLD, r"plan\.dims"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            task.run(model, world)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="replan at most the horizon"):
        replace(PLAN, replan=6)
    with pytest.raises(UserError, match=r"plan\.max_norm"):
        replace(PLAN, max_norm=0.0)
