"""Surprise and geometry: a model of positions is surprised by what is out of place, not by the light."""

from dataclasses import replace

import pytest
import torch

from dynarium.data import Dataset, make_dataset
from dynarium.errors import UserError
from dynarium.systems.dots import MovingDots
from dynarium.systems.noise import Noise
from dynarium.systems.obstacles import DotObstacles
from dynarium.systems.two_rooms import TwoRooms
from dynarium.tasks import TASKS
from dynarium.tasks.geometry import Geometry
from dynarium.tasks.origin import sequences_of
from dynarium.tasks.surprise import Surprise
from point import Knows, Point

WORLD = Point()


def table(result):
    return {(r.method, r.metric, *r.condition.values()): r for r in result.rows}


def test_a_teleport_surprises_and_the_light_does_not():
    result = Surprise(sequences=200).run(Knows(WORLD), WORLD)
    rows = table(result)
    teleport = rows["latent", "surprise_auc", "teleport", 4]
    assert teleport.value > 0.97 and not teleport.baseline and teleport.n == 200
    assert rows["latent", "surprise_ratio", "teleport", 4].value > 100
    assert abs(rows["latent", "surprise_auc", "brightness", 4].value - 0.5) < 0.25  # the rounding of bytes is coarser
    assert (
        rows["pixels", "surprise_ratio", "brightness", 4].value > 1.1
        and rows["pixels", "surprise_auc", "none", 4].baseline
    )
    for method in ("latent", "copy-last", "pixels"):
        low, none, high = (rows[method, f"surprise_auc{side}", "none", 4].value for side in ("_low", "", "_high"))
        assert low < none < high and low < 0.52 and high > 0.48
    # Who expects nothing to move is less sure of it.
    assert rows["copy-last", "surprise_auc", "teleport", 4].value < teleport.value
    assert not any(r.condition["event"] == "colour" for r in result.rows)  # there is one channel
    assert TASKS["surprise"] is Surprise


def test_the_numbers_are_their_definition():
    model = Knows(WORLD)
    rows = table(Surprise(events=("none",), at=3, sequences=50).run(model, WORLD))
    (batch,) = sequences_of(WORLD, "test", 50, 128)
    encoded, errors = model.embed(batch.video), []
    for t in (1, 2, 3):
        imagined = model.imagine(encoded[:, t - 1], batch.action[:, t - 1 : t])[:, 0]
        errors.append((imagined - encoded[:, t]).square().mean(-1))
    wanted = errors[2].mean() / ((errors[0] + errors[1]) / 2).mean()
    assert rows["latent", "surprise_ratio", "none", 3].value == pytest.approx(float(wanted), rel=1e-4)
    pairs = (errors[2][:, None] > torch.cat(errors[:2])[None]).double().mean()
    assert rows["latent", "surprise_auc", "none", 3].value == pytest.approx(float(pairs), abs=1e-3)


class Watches(Knows):
    """Keeps the frames that it is shown; its latent is how bright each channel is."""

    def __init__(self):
        self.seen = []

    def embed(self, video):
        self.seen.append(video.clone())
        return video.sum((-1, -2))

    def imagine(self, start, action):
        return start[:, None].expand(-1, action.shape[1], -1)


@pytest.mark.parametrize(
    "world",
    [
        MovingDots(dots=2, still=1),
        MovingDots(dots=2, controlled="all", brightness=2.0, noise=Noise(fixed=1.0, speed=1.0, changing=0.5)),
        DotObstacles(),
        TwoRooms(steps=9),
    ],
    ids=["dots", "noisy-dots", "obstacles", "rooms"],
)
def test_another_colour_changes_the_look_of_what_moves_and_moves_nothing(world):
    model = Watches()
    rows = table(Surprise(at=4, sequences=8).run(model, world))
    assert {event for _, _, event, _ in rows} == {"none", "teleport", "brightness", "colour"}
    plain, _, dark, coloured = (frames[:, -1] for frames in model.seen)
    alone = world.foreground(next(sequences_of(world, "test", 8, 128)).state[:, 4:5])[:, 0]
    torch.testing.assert_close(coloured, plain - 0.5 * alone, atol=3e-3, rtol=0)
    assert torch.equal(coloured[:, 1:], plain[:, 1:]) and not (alone[:, 1:] != 0).any()
    where = torch.stack(torch.meshgrid(*2 * [torch.arange(world.side)], indexing="xy")).float()
    middle = (alone[:, 0, None] * where).sum((-1, -2)) / alone.sum((1, 2, 3))[:, None]
    state = next(sequences_of(world, "test", 8, 128)).state[:, 4, :2].float()
    assert float((middle - state).abs().max()) < 1  # but for the edge of the frame
    if not getattr(world, "noise", Noise()).level:
        torch.testing.assert_close(coloured[:, 0], dark[:, 0], atol=3e-3, rtol=0)


def test_why_there_is_no_other_colour(tmp_path):
    make_dataset(MovingDots(dots=2), tmp_path / "d", sizes={"train": 1, "test": 4})
    asked = Surprise(events=("none", "colour"), sequences=4)
    assert asked.run(Watches(), Dataset(tmp_path / "d")).rows
    for world, words in [
        (
            MovingDots(dots=2, channels="sum"),
            "'colour' cannot be shown: frames have one channel, in which another colour is",
        ),
        (Colourful(), "'colour' cannot be shown: Colourful does not draw by itself what the actions move"),
    ]:
        with pytest.raises(UserError, match=rf"surprise\.events: {words}") as error:
            asked.run(Watches(), world)
        assert "\n" not in str(error.value)
    assert not any(r.condition["event"] == "colour" for r in Surprise(sequences=4).run(Watches(), Colourful()).rows)


class Colourful(Point):
    def render(self, trajectory):
        return super().render(trajectory).expand(-1, -1, 3, -1, -1)


def test_geometry_of_a_known_space():
    result = Geometry(sequences=100).run(Knows(WORLD), WORLD)
    rows = table(result)
    assert 2 < rows["encoded", "effective_rank", 5].value < 3.01  # a linear map of the plane, and a constant part
    assert rows["rollout", "latent_error_mean", 8].value < 1e-3 < 0.05 < rows["copy-last", "latent_error_mean", 8].value
    assert rows["copy-last", "latent_error_mean", 8].value < rows["copy-first", "latent_error_mean", 8].value
    assert (
        rows["mean", "latent_error_mean", 8].value == pytest.approx(1, abs=0.1)
        and rows["mean", "latent_error", 1].baseline
    )
    assert rows["rollout", "straightness", 8].value == pytest.approx(rows["encoded", "straightness", 9].value, abs=0.1)
    errors = [rows["copy-first", "latent_error", k].value for k in range(1, 9)]
    assert errors[0] < errors[3] < errors[7]
    assert TASKS["geometry"] is Geometry and result.task == "geometry"


def test_a_collapse_is_seen():
    rows = table(Geometry(sequences=20).run(Knows(WORLD, blind=True), WORLD))
    assert rows["encoded", "effective_rank", 5].value == pytest.approx(1, abs=1e-3)
    assert table(Geometry(sequences=1).run(Knows(WORLD), WORLD))["encoded", "effective_rank", 5].standard_error == 0


def test_errors():
    for task in (Surprise(), Geometry()):
        with pytest.raises(UserError, match="does not have the capability Imagines"):
            task.run(WORLD, WORLD)
    with pytest.raises(UserError, match=r"surprise\.at: expected 2 to 8"):
        Surprise(at=1).run(Knows(WORLD), WORLD)
    for task, options, words in [
        (Surprise, {"sequences": 1}, r"surprise\.sequences: expected at least 2 sequences, got 1"),
        (Surprise, {"batch_size": 1}, r"surprise\.batch_size: expected at least 2"),
        (Surprise, {"factor": -1.0}, r"surprise\.factor"),
        (Geometry, {"batch_size": 0}, r"geometry\.batch_size: expected at least 1, got 0"),
        (Geometry, {"sequences": 0}, r"geometry\.sequences"),
    ]:
        with pytest.raises(UserError, match=words):
            task(**options)

    class Still(Point):
        def simulate(self, parameters, steps, generator):
            return replace(super().simulate(parameters, steps, generator), action=None)

    for task in (Surprise(), Geometry()):
        with pytest.raises(UserError, match="a world with actions"):
            task.run(Knows(WORLD), Still())
