import math

import pytest
import scipy.stats
import torch
from scipy.sparse.csgraph import dijkstra

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.base import Environment
from dynarium.systems.obstacles import DotObstacles
from dynarium.systems.rooms import Room, Walk, shortened
from dynarium.systems.two_rooms import TwoRooms
from dynarium.types import Trajectory

ROOMS = ["two-rooms", "two-rooms-random", "dot-obstacles"]


def play(world, n=64, seed=0, steps=None):
    generator = seeded(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


@pytest.mark.parametrize("name", [*ROOMS, "moving-dot", "bouncing-ball-actions"])
def test_replaying_the_actions_gives_the_states(name):
    world = WORLDS[name]()
    assert isinstance(world, Environment)
    steps = min(world.steps, 40)
    drawn = play(world, n=32, steps=steps)
    state = drawn.state[:, 0]
    for t in range(steps - 1):
        state = world.transition(state, drawn.action[:, t], drawn.parameter)
        torch.testing.assert_close(state, drawn.state[:, t + 1])


@pytest.mark.parametrize("name", ROOMS)
def test_no_dot_is_ever_in_a_wall_and_no_step_goes_through_one(name):
    """Checked at many points of every step against the pixels of the walls."""
    world = WORLDS[name]()
    drawn = play(world, n=200)
    start, end = drawn.state[:, :-1, None], drawn.state[:, 1:, None]
    way = start + (end - start) * torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    assert way.min() >= world.low and way.max() <= world.high
    walls = world._walls(drawn.parameter)
    # A wall fills the square between the middles of its outer pixels: a point is in it if all four pixels around it are.
    corner = way.flatten(1, 2).floor().long()
    b = torch.arange(200)[:, None]
    corners = [walls[b, corner[..., 1] + i, corner[..., 0] + j] for i in (0, 1) for j in (0, 1)]
    inside = torch.stack(corners).all(0) & (way.flatten(1, 2) % 1 > 1e-9).all(-1)
    assert not inside.any()
    assert (drawn.state[:, 1:] == drawn.state[:, :-1]).all(-1).double().mean() > 0.01  # some moves were in vain


def test_the_walk_keeps_its_direction_for_a_while():
    moves = Walk().draw(torch.zeros(5000, dtype=torch.float64), 12, seeded(0))
    length = moves.norm(dim=-1).flatten()
    assert scipy.stats.kstest(length.numpy(), scipy.stats.truncnorm(-2, 2, loc=1, scale=0.4).cdf).pvalue > 0.001
    angle = torch.atan2(moves[..., 1], moves[..., 0])
    assert angle[:, 0].abs().max() < 1e-12
    turn = torch.remainder(angle[:, 1:] - angle[:, :-1] + math.pi, 2 * math.pi) - math.pi
    assert scipy.stats.kstest(turn.flatten().numpy(), scipy.stats.vonmises(5).cdf).pvalue > 0.001


def test_a_box_may_be_touched_but_not_entered():
    room = Room(boxes=torch.tensor([[[2.0, 2.0, 4.0, 4.0]]]).double(), low=0.0, high=6.0)

    def crosses(a, b):
        return bool(room.crosses(torch.tensor([[a]]).double(), torch.tensor([[b]]).double()))

    assert crosses((1, 3), (5, 3)) and crosses((1, 3), (3, 3)) and crosses((1, 1), (5, 5)) and crosses((3, 3), (3, 3))
    assert not crosses((1, 2), (5, 2)) and not crosses((2, 0), (2, 6)) and not crosses((1, 3), (2, 3))
    assert not crosses((1, 3), (3, 1)) and not crosses((1, 3), (1.9, 3)) and not crosses((5, 3), (6, 3))


def test_actions_are_shortened():
    actions = shortened(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).double(), 1.0)
    torch.testing.assert_close(actions, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]).double())


def test_the_shortest_path_leads_through_the_door():
    """The way goes by the one or the other post of the door; a post has two corners."""
    world = TwoRooms(wall=(20, 44), door=(10, 54))
    generator = seeded(0)
    parameters = world.sample_parameters(50, generator)
    start, goal = torch.rand(2, 50, 2, dtype=torch.float64, generator=generator)
    wall = parameters[:, :1]
    start = torch.cat([4 + (wall - 5) * start[:, :1], 4 + 56 * start[:, 1:]], 1)
    goal = torch.cat([wall + 1 + (59 - wall) * goal[:, :1], 4 + 56 * goal[:, 1:]], 1)
    lengths = world.shortest_path(start, goal, parameters)
    for i in range(50):
        x, y = parameters[i].tolist()
        a, b = start[i].tolist(), goal[i].tolist()

        def straight(p, q, x=x, y=y):
            """Return whether the line between both sides of the wall passes the door."""
            rows = [p[1] + (q[1] - p[1]) * (x + side - p[0]) / (q[0] - p[0]) for side in (-1, 1)]
            return all(abs(row - y) <= 4 for row in rows)

        ways = [math.dist(a, b)] if straight(a, b) else []
        for post in (y - 4, y + 4):
            left, right = (x - 1, post), (x + 1, post)
            ways.append(math.dist(a, left) + 2 + math.dist(right, b))
            ways += [math.dist(a, left) + math.dist(left, b)] if straight(left, b) else []
            ways += [math.dist(a, right) + math.dist(right, b)] if straight(a, right) else []
        ways += [  # from one post to the other, across the door
            math.dist(a, (x - 1, y + s)) + math.dist((x - 1, y + s), (x + 1, y - s)) + math.dist((x + 1, y - s), b)
            for s in (-4, 4)
        ]
        assert float(lengths[i]) == pytest.approx(min(ways), abs=1e-6)
    same = world.shortest_path(start, start + torch.tensor([-0.5, 0.0]).double(), parameters)
    torch.testing.assert_close(same, torch.full((50,), 0.5).double())


def test_the_shortest_path_around_blocks_is_that_of_a_fine_grid():
    """On a grid with eight directions the way is up to 1 / cos(22.5 degrees) = 1.082 times as long."""
    world = DotObstacles(blocks=5)
    drawn = play(world, n=6, steps=2)
    goal = play(world, n=6, seed=0, steps=33).state[:, -1].round()
    start = drawn.state[:, 0].round()
    free = ~world._room(drawn.parameter).crosses(start[:, None], start[:, None])[:, 0]
    free &= ~world._room(drawn.parameter).crosses(goal[:, None], goal[:, None])[:, 0]
    lengths = world.shortest_path(start, goal, drawn.parameter)
    cells = torch.stack(torch.meshgrid(*2 * [torch.arange(world.low, world.high + 0.25, 0.5)], indexing="ij"), -1)
    cells = cells.flatten(0, 1).double()
    for i in free.nonzero()[:, 0].tolist():
        near = ((cells[:, None] - cells).abs().amax(-1) < 0.75).nonzero()
        room = Room(boxes=world._room(drawn.parameter).boxes[i : i + 1], low=world.low, high=world.high)
        a, b = cells[near[:, 0]], cells[near[:, 1]]
        open_ = ~room.crosses(a[None], b[None])[0] & (near[:, 0] != near[:, 1])
        index = near[open_].T
        weight = (a - b).norm(dim=-1)[open_].numpy()
        graph = scipy.sparse.coo_matrix((weight, tuple(index.numpy())), shape=(len(cells),) * 2)
        ends = [int((cells - point).norm(dim=-1).argmin()) for point in (start[i], goal[i])]
        grid = float(dijkstra(graph.tocsr(), indices=ends[0])[ends[1]])
        assert float(lengths[i]) - 1e-6 <= grid <= 1.0824 * float(lengths[i]) + 1


def test_there_is_no_path_into_a_closed_box():
    walls = torch.tensor(
        [[[2.0, 2.0, 8.0, 3.0], [2.0, 7.0, 8.0, 8.0], [2.0, 2.0, 3.0, 8.0], [7.0, 2.0, 8.0, 8.0]]]
    ).double()
    room = Room(boxes=walls, low=0.0, high=10.0)
    inside, outside = torch.tensor([[5.0, 5.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    assert room.shortest(inside, outside).isinf().all()
    assert float(room.shortest(outside, torch.tensor([[9.0, 9.0]]).double())) == pytest.approx(2 * math.hypot(1, 7))


@pytest.mark.parametrize("name", ROOMS)
def test_frames_show_the_dot_and_the_walls(name):
    world = WORLDS[name]()
    made = draw(world, 4, 9, seeded(0))
    video, side = made["video"], world.side
    assert video.dtype == torch.uint8 and video.shape == (4, 9, 2, side, side)
    brightest = video[:, :, 0].flatten(2).argmax(-1)
    place = torch.stack([brightest % side, brightest // side], -1)
    assert (place - made["state"]).abs().max() <= 0.51  # two pixels may share a byte
    assert (video[:, :, 1] == video[:, :1, 1]).all() and set(video[:, :, 1].unique().tolist()) == {0, 255}
    edge = world.border - 1
    assert (video[:, :, 1, edge] == 255).all() and (video[:, :, 1, :, side - world.border] == 255).all()
    with pytest.raises(UserError, match="trajectory.parameter"):
        world.render(Trajectory(state=made["state"].double()))


def test_the_wall_of_two_rooms_is_three_pixels_wide_and_open_at_the_door():
    walls = draw(WORLDS["two-rooms"](), 1, 1, seeded(0))["video"][0, 0, 1] == 255
    assert walls[30].nonzero()[:, 0].tolist() == [4, 31, 32, 33, 60]
    assert (~walls[:, 32]).nonzero()[:, 0].tolist() == list(range(6, 15))
    free = ~walls[:, 20]
    assert free.sum() == 63 and not free[4] and not free[60]


def test_some_sequences_are_made_to_pass_the_door():
    def shares(world):
        state = play(world, n=600).state
        x, y = state[..., 0], state[..., 1]
        at_door = ((x - 32).abs() <= 1) & ((y - 10).abs() <= 4)
        return float(at_door.any(1).double().mean()), float(((x.amin(1) < 31) & (x.amax(1) > 33)).double().mean())

    never, always = shares(TwoRooms(crossing=0.0)), shares(TwoRooms(crossing=1.0))
    assert never[0] < 0.2 and never[1] < 0.12
    assert always[0] == 1 and always[1] > 0.75  # the others come to it near the end or turn around in it


def test_some_sequences_are_made_to_run_into_the_wall_beside_the_door():
    def stopped(world):
        drawn = play(world, n=600, steps=17)
        y, far = drawn.state[..., 1], (drawn.state[..., 0] - 32).abs()
        stands = torch.nn.functional.pad((drawn.state.diff(dim=1) == 0).all(-1), (0, 1))
        beside = ((y - 30).abs() > 4) & ((y - 30).abs() <= 12) & (far <= 1 + world.max_action)
        assert not ((far < 1) & ((y - 30).abs() > 4.01)).any(), "nothing is inside the wall"
        return float((stands & beside).any(1).double().mean())

    rare, often = (stopped(TwoRooms(door=(30, 30), beside=share)) for share in (0.0, 1.0))
    assert rare < 0.1 and often > 0.6


def test_random_layouts_cover_their_range_and_blocks_keep_their_distance():
    parameters = play(WORLDS["two-rooms-random"](), n=3000, steps=1).parameter
    assert parameters.amin(0).tolist() == [20, 10] and parameters.amax(0).tolist() == [44, 54]
    world = DotObstacles(blocks=4)
    boxes = play(world, n=300, steps=1).parameter.unflatten(1, (4, 4))
    assert boxes[..., :2].min() == world.low + 2 and boxes[..., 2:].max() == world.high - 2
    size = boxes[..., 2:] - boxes[..., :2] + 1
    assert size.min() == 3 and size.max() == 7
    apart = torch.maximum(
        boxes[:, :, None, :2] - boxes[:, None, :, 2:], boxes[:, None, :, :2] - boxes[:, :, None, 2:]
    ).amax(-1)
    assert apart[:, ~torch.eye(4, dtype=torch.bool)].min() >= 2


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="wall: expected first and last of 6 .. 58, got 2 and 2"):
        TwoRooms(wall=(2, 2))
    with pytest.raises(UserError, match="wall_width: expected an odd number of pixels, got 4"):
        TwoRooms(wall_width=4)
    with pytest.raises(UserError, match="crossing: expected a share"):
        TwoRooms(crossing=1.5)
    with pytest.raises(UserError, match="beside: expected a share"):
        TwoRooms(beside=-0.5)
    with pytest.raises(UserError, match="max_action: expected at least the 1.8 px of the walk, got 1"):
        TwoRooms(max_action=1.0)
    with pytest.raises(UserError, match="lengths: a block of 30 px has no room in 28 px"):
        DotObstacles(lengths=(3, 30))
    with pytest.raises(UserError, match="no free place for block . of 9 after 1000 draws"):
        DotObstacles(blocks=9, lengths=(7, 7), gap=5).sample_parameters(1, seeded(0))
