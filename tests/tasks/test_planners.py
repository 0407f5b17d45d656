"""Planners: each finds the minimum of a bowl, stays within the longest action, repeats; noise has its colour."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.tasks.planners import CEM, ICEM, MPPI, GradientMPC, Search, capped, coloured

GOAL = torch.tensor([[2.0, -1.0], [-3.0, 0.5], [0.2, 0.1]])
SMALL = [
    CEM(samples=100, elites=12, iterations=12),
    ICEM(samples=100, elites=12, iterations=8, colour=1.0),
    MPPI(samples=200, iterations=15),
    GradientMPC(samples=3, iterations=40),
]


def cost(actions):
    """How far the sum of the actions is from where it should be, and how long the actions are."""
    return (actions.sum(2) - GOAL[: len(actions), None]).square().sum(-1) + 0.01 * actions.square().sum((-1, -2))


def search(planner, seed=0, goals=3, plan=None, limit=1.0):
    start = Search(plan=torch.zeros(goals, 5, 2) if plan is None else plan)
    return planner.search(cost, start, limit, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("planner", SMALL, ids=lambda p: type(p).__name__)
def test_the_goal_is_found_within_the_longest_action(planner):
    found = search(planner)
    # The best plan has equal actions, as short as the goal lets them be.
    best = cost((GOAL[:, None, None] / 5.01).expand(3, 1, 5, 2))[:, 0]
    assert (cost(found.plan[:, None])[:, 0] < best + 0.1).all()
    assert (found.plan.norm(dim=-1) <= 1 + 1e-6).all()
    assert torch.equal(found.plan, search(planner).plan)
    # The gradient's first start is the plan itself, and a bowl has one bottom.
    assert isinstance(planner, GradientMPC) or not torch.equal(found.plan, search(planner, seed=1).plan)
    short = search(planner, limit=0.3).plan  # the first goals are now out of reach
    assert (short.norm(dim=-1) <= 0.3 + 1e-6).all() and float(short[0].sum(0).norm()) > 1.2


@pytest.mark.parametrize("planner", SMALL, ids=lambda p: type(p).__name__)
def test_a_warm_start_helps(planner):
    hasty = replace(planner, iterations=1) if not isinstance(planner, GradientMPC) else replace(planner, iterations=2)
    good = search(planner).plan
    cold, warm = (cost(search(hasty, plan=plan).plan[:, None]).mean() for plan in (None, good))
    assert warm < cold


def test_an_iteration_of_cem_and_mppi_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((2, 50, 4, 2), generator=generator)
    drawn = capped(0.6 * noise, 1.0)
    costs = cost(drawn)
    start = Search(plan=torch.zeros(2, 4, 2))
    cem = CEM(samples=50, elites=5, iterations=1).search(cost, start, 1.0, torch.Generator().manual_seed(0)).plan
    for b in range(2):
        assert torch.allclose(cem[b], drawn[b][costs[b].argsort()[:5]].mean(0), atol=1e-6)
    noise[:, 0] = 0
    drawn = capped(0.6 * noise, 1.0)
    costs = cost(drawn)
    mppi = (
        MPPI(samples=50, iterations=1, temperature=0.3).search(cost, start, 1.0, torch.Generator().manual_seed(0)).plan
    )
    weight = (-(costs - costs.amin(1, keepdim=True)) / (0.3 * costs.std(1, keepdim=True))).exp()
    wanted = torch.einsum("bs,bsfa->bfa", weight / weight.sum(1, keepdim=True), drawn)
    assert torch.allclose(mppi, wanted, atol=1e-6)


def test_scale_of_the_cost_does_not_matter():
    for planner in SMALL[:3]:
        scaled = planner.search(
            lambda x: 1000 * cost(x), Search(plan=torch.zeros(3, 5, 2)), 1.0, torch.Generator().manual_seed(0)
        )
        assert torch.allclose(scaled.plan, search(planner).plan, atol=1e-4)


def test_what_is_not_a_number_is_never_chosen():
    def broken(actions):
        return torch.where(actions[:, :, 0, 0] > 0, torch.nan, cost(actions))

    for planner in (CEM(samples=60, elites=5, iterations=4), ICEM(samples=60, elites=5, iterations=4)):
        plan = planner.search(broken, Search(plan=torch.zeros(3, 5, 2)), 1.0, torch.Generator().manual_seed(0)).plan
        assert bool(plan.isfinite().all()) and (plan[:, 0, 0] <= 0).all()


def test_noise_has_its_colour_and_unit_variance():
    generator, like = torch.Generator().manual_seed(0), torch.zeros(1)
    smooth = {}
    for exponent in (0.0, 1.0, 2.0):
        noise = coloured((4, 500, 16, 2), exponent, generator, like)
        assert noise.shape == (4, 500, 16, 2) and float(noise.var()) == pytest.approx(1, abs=0.06)
        smooth[exponent] = float((noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.square().mean())
    assert abs(smooth[0.0]) < 0.03 < 0.3 < smooth[1.0] < smooth[2.0] - 0.2


def test_noise_is_held():
    seen = []
    planner = ICEM(samples=40, elites=4, iterations=1, hold=4, colour=0.0, spread=0.1)

    def watched(actions):
        seen.append(actions)
        return cost(actions)

    planner.search(watched, Search(plan=torch.zeros(3, 11, 2)), 1.0, torch.Generator().manual_seed(0))
    changes = (seen[0][:, :40].diff(dim=2) != 0).any(-1)
    assert bool((changes == changes[0, 0]).all()) and 2 <= int(changes[0, 0].sum()) <= 3
    where = changes[0, 0].nonzero()[:, 0]
    assert bool((where.diff() == 4).all())


def test_a_shift_drops_what_was_done():
    plan = torch.arange(6.0).reshape(1, 3, 2)
    moved = Search(plan=plan, elites=plan[:, None]).shifted(2)
    assert moved.plan.tolist() == [[[4, 5], [0, 0], [0, 0]]] and torch.equal(moved.elites[:, 0], moved.plan)


def test_candidates_are_what_is_asked():
    for planner in SMALL:
        asked = 0

        def counted(actions):
            nonlocal asked
            asked += actions.shape[1]
            return cost(actions)

        planner.search(counted, Search(plan=torch.zeros(1, 5, 2)), 1.0, torch.Generator())
        extra = 0 if not isinstance(planner, ICEM) else round(planner.kept * planner.elites) * (planner.iterations - 1)
        assert asked == planner.candidates + extra


def test_errors():
    with pytest.raises(UserError, match="passes gradients"):
        GradientMPC().search(
            lambda x: x.detach().sum((-1, -2)), Search(plan=torch.zeros(1, 2, 2)), 1.0, torch.Generator()
        )
    for make in (
        lambda: CEM(elites=1),
        lambda: ICEM(decay=0.5),
        lambda: MPPI(temperature=0.0),
        lambda: GradientMPC(learning_rate=0.0),
        lambda: MPPI(samples=1),
    ):
        with pytest.raises(UserError, match="expected"):
            make()
