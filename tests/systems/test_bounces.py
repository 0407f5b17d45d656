"""Both laws against loops over single digits that are written after the papers' own data code, number by number."""

import math

import pytest
import torch

import dynarium.systems.bounces as bounces
from dynarium.systems.bounces import reflected_paths, snapped_paths


def recorded(monkeypatch):
    """Keep what the law draws."""
    drawn, real = [], bounces.integers

    def draw(*arguments):
        drawn.append(real(*arguments))
        return drawn[-1]

    monkeypatch.setattr(bounces, "integers", draw)
    return drawn


def snapped_by_hand(x, y, dx, dy, steps, room, redraw):
    path = []
    for t in range(steps):
        if y < 0:
            y = 0
            dy, dx = redraw(t, 1, 1) or (-dy, dx)
        elif y >= room:
            y = room - 1
            dy, dx = redraw(t, 1, -1) or (-dy, dx)
        if x < 0:
            x = 0
            dx, dy = redraw(t, 0, 1) or (-dx, dy)
        elif x >= room:
            x = room - 1
            dx, dy = redraw(t, 0, -1) or (-dx, dy)
        path.append((x, y, dx, dy))
        y += dy
        x += dx
    return path


@pytest.mark.parametrize("chance", [True, False])
def test_the_law_of_2018_number_by_number(monkeypatch, chance):
    drawn = recorded(monkeypatch)
    state, hit = snapped_paths((40, 2), 60, 32, 4, chance, torch.Generator().manual_seed(0))
    first = [table.long().tolist() for table in drawn[:2]]
    across, along = (drawn[2].long(), drawn[3].long()) if chance else (None, None)
    for i in range(40):
        for k in range(2):

            def redraw(t, axis, sign, i=i, k=k):
                return (sign * int(across[t, axis, i, k]), int(along[t, axis, i, k])) if chance else None

            (x, y), (dx, dy) = ([table[axis][i][k] for axis in range(2)] for table in first)
            assert state[i, :, k].long().tolist() == [list(s) for s in snapped_by_hand(x, y, dx, dy, 60, 32, redraw)]
    moved = state[:, 1:, :, :2] != state[:, :-1, :, :2] + state[:, :-1, :, 2:]
    assert torch.equal(hit[:, 1:], moved.any(-1))  # a wall takes away a part of the step


def reflected_by_hand(s, v, steps, room, redraw):
    """One digit, the way of the paper's code: the line of flight is cut with the edges of the frame."""
    eps, path = 1e-8, []
    for t in range(steps):
        while True:
            out = [s[a] < -eps or s[a] > room + eps for a in range(2)]
            if not any(out):
                break
            met, at = [False, False], None
            for a in range(2):
                if out[a]:
                    edge = 0 if s[a] < 0 else room
                    other = s[1 - a] if v[1 - a] == 0 else s[1 - a] - (s[a] - edge) * v[1 - a] / v[a]
                    if -eps <= other <= room + eps:
                        met[a], at = True, [edge, other] if a == 0 else [other, edge]
            a = 0 if v[0] != 0 else 1
            left = (s[a] - at[a]) / v[a]
            fresh = redraw(t) or v
            v = [fresh[a] if not met[a] else abs(fresh[a]) * (1 if s[a] < 0 else -1) for a in range(2)]
            s = [at[a] + v[a] * left for a in range(2)]
        path.append([*s, *v])
        s = [s[a] + v[a] for a in range(2)]
    return path


@pytest.mark.parametrize("chance", [True, False])
def test_the_law_of_2020_number_by_number(monkeypatch, chance):
    """One sequence at a time, so that a draw belongs to one digit; 20 of them, some of which come into corners."""
    corners = 0
    for seed in range(20):
        drawn = recorded(monkeypatch)
        state, hit = reflected_paths((1, 1), 60, 9, 4, chance, torch.Generator().manual_seed(seed))
        later = iter(drawn[2:])
        path = reflected_by_hand(
            drawn[0].flatten().tolist(),
            drawn[1].flatten().tolist(),
            60,
            9,
            lambda t, later=later: next(later).flatten().tolist() if chance else None,
        )
        torch.testing.assert_close(state[0, :, 0], torch.tensor(path, dtype=torch.float64), rtol=0, atol=1e-7)
        assert next(later, None) is None
        corners += int((state[0, :, 0, :2].round() % 9 == 0).all(-1).sum())
        straight = state[0, :-1, 0, :2] + state[0, :-1, 0, 2:]
        assert torch.equal(hit[0, 1:, 0], (straight - straight.clamp(-1e-8, 9 + 1e-8)).abs().amax(-1) > 0)
        monkeypatch.undo()
    assert corners > 5


def test_reflection_keeps_the_speed_and_stays_inside():
    state, _ = reflected_paths((500, 2), 100, 36, 4, False, torch.Generator().manual_seed(0))
    assert state[..., :2].min() >= -1e-8 and state[..., :2].max() <= 36 + 1e-8
    assert torch.equal(state[..., 2:].abs(), state[:, :1, :, 2:].abs().expand_as(state[..., 2:]))
    unfolded = (state[:, 0, :, :2] + 99 * state[:, 0, :, 2:]) % 72  # a mirror at each wall
    torch.testing.assert_close(state[:, -1, :, :2], torch.where(unfolded > 36, 72 - unfolded, unfolded))


def test_the_measured_number_of_bounces():
    """3.70 in 15 steps and 7.37 in 30 of two digits by a run of the original; 1,500 sequences scatter by .05."""
    for steps, expected in ((15, 3.70), (30, 7.37)):
        state, _ = snapped_paths((20_000, 2), steps, 32, 4, True, torch.Generator().manual_seed(0))
        met = state[:, 1:, :, :2] != state[:, :-1, :, :2] + state[:, :-1, :, 2:]  # a corner counts twice
        assert float(met.sum((1, 2, 3)).double().mean()) == pytest.approx(expected, abs=0.15)


def test_velocities_after_a_bounce_are_uniform_and_point_inside():
    state, hit = reflected_paths((20_000, 1), 15, 36, 4, True, torch.Generator().manual_seed(0))
    one = hit[:, 1:] & ((state[:, 1:, :, 0] < 0.5) & (state[:, 1:, :, 1] - 18).abs().lt(9))
    fresh = state[:, 1:][one][:, 2:]
    assert fresh[:, 0].min() == 0
    share = torch.tensor([(fresh[:, 1] == v).double().mean() for v in range(-4, 5)])
    spread = 4 * math.sqrt(1 / 9 / len(fresh))
    assert (share - 1 / 9).abs().max() < spread
