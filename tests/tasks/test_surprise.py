"""Surprise and geometry: a model of positions is surprised by what is out of place, not by the light."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.tasks import TASKS
from dynarium.tasks.geometry import Geometry
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
    from dynarium.tasks.origin import sequences_of

    (batch,) = sequences_of(WORLD, "test", 50, 128)
    encoded, errors = model.embed(batch.video), []
    for t in (1, 2, 3):
        imagined = model.imagine(encoded[:, t - 1], batch.action[:, t - 1 : t])[:, 0]
        errors.append((imagined - encoded[:, t]).square().mean(-1))
    wanted = errors[2].mean() / ((errors[0] + errors[1]) / 2).mean()
    assert rows["latent", "surprise_ratio", "none", 3].value == pytest.approx(float(wanted), rel=1e-4)
    pairs = (errors[2][:, None] > torch.cat(errors[:2])[None]).double().mean()
    assert rows["latent", "surprise_auc", "none", 3].value == pytest.approx(float(pairs), abs=1e-3)


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
    for task, words in [
        (Surprise(at=1), r"surprise\.at: expected 2 to 8"),
        (Surprise(sequences=1), "at least 2 sequences"),
    ]:
        with pytest.raises(UserError, match=words):
            task.run(Knows(WORLD), WORLD)

    class Still(Point):
        def simulate(self, parameters, steps, generator):
            return replace(super().simulate(parameters, steps, generator), action=None)

    for task in (Surprise(), Geometry()):
        with pytest.raises(UserError, match="a world with actions"):
            task.run(Knows(WORLD), Still())
