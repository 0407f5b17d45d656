"""Probing of roll-outs: the definition of the error, the two probes, trivial rows, worlds and datasets."""

from dataclasses import replace

import pytest
import torch

from dynarium.data import Dataset, OnlineSource, make_dataset
from dynarium.errors import UserError
from dynarium.reporting.rows import record_of
from dynarium.tasks import TASKS
from dynarium.tasks.probe_rollout import ProbeRollout
from point import Knows, Point

WORLD = Point()
SMALL = ProbeRollout(train_sequences=300, sequences=200, resamples=200)


@pytest.fixture(scope="module")
def result():
    return SMALL.run(Knows(WORLD), WORLD)


def table(result):
    return {(r.method, r.metric, *r.condition.values()): r for r in result.rows}


def value(result, method, metric):
    return next(r.value for r in result.rows if (r.method, r.metric) == (method, metric))


def test_a_model_that_knows_is_right_and_trivial_rows_are_their_definition(result):
    rows = table(result)
    assert value(result, "rollout", "rmse_px") < 0.05  # but for the rounding of the frames
    assert value(result, "rollout", "r2_rollout") > 0.999
    draw = [world_batch(split) for split in ("train", "test")]
    x, action = draw[1]
    square = (x - x[:, :1]).square().sum(-1)
    hold = rows["hold-first", "rmse_px", 9, 1]
    assert hold.value == pytest.approx(float(square.mean().sqrt()), abs=1e-5) and hold.n == 200 and hold.baseline
    assert rows["hold-first", "rmse_px_start", 9, 1].value == 0
    assert rows["hold-first", "rmse_px_step", 3].value == pytest.approx(float(square[:, 3].mean().sqrt()), abs=1e-5)
    assert rows["hold-first", "rmse_px_rollout", 9, 1].value == pytest.approx(
        float(square[:, 1:].mean().sqrt()), abs=1e-5
    )
    constant = (x - draw[0][0].mean((0, 1))).square().sum(-1).mean().sqrt()
    assert rows["constant", "rmse_px", 9, 1].value == pytest.approx(float(constant), abs=1e-5)
    reckoned = x[:, :1] + torch.cat([torch.zeros_like(x[:, :1]), action[:, :8].cumsum(1)], 1)
    wanted = (x - reckoned).square().sum(-1).mean().sqrt()
    assert rows["dead-reckoning", "rmse_px", 9, 1].value == pytest.approx(float(wanted), abs=1e-5)
    assert value(result, "linear-actions", "rmse_px") < value(result, "dead-reckoning", "rmse_px")
    assert value(result, "pixels-linear", "rmse_px") < 0.3
    kinds = {row.method: record_of(row).kind for row in result.rows}
    assert kinds["rollout"] == "model" and kinds["pixels-linear"] == "bound" and kinds["hold-first"] == "baseline"
    low, high = (rows["hold-first", f"rmse_px_{side}", 9, 1].value for side in ("low", "high"))
    assert low < hold.value < high and (high - low) / 3.92 == pytest.approx(hold.standard_error, rel=0.15)


class Draws(Knows):
    """Decodes a latent as a frame as bright as its first number."""

    def decode(self, z):
        return z[..., :1, None, None].expand(*z.shape[:2], 1, 28, 28)


class Declines(Knows):
    def decode(self, z):
        raise UserError("decode: this model has no decoder")


def test_what_a_model_can_decode_is_kept_for_pictures(result):
    drawn = SMALL.run(Draws(WORLD), WORLD)
    films = torch.as_tensor(drawn.examples["scene/decoded"])
    latent = SMALL.rollouts(Knows(WORLD), WORLD, "test", 200)[0].latent[:6]
    assert torch.equal(films, latent[..., :1, None, None].expand(6, 9, 1, 28, 28))
    for other in (result, SMALL.run(Declines(WORLD), WORLD)):
        assert "scene/decoded" not in other.examples and "scene" in other.examples


def world_batch(split):
    from dynarium.data.generate import draw, seeded

    parts = [draw(WORLD, 256, 9, seeded(0, split, k), first=256 * k) for k in (0, 1)]
    n = 300 if split == "train" else 200
    return tuple(torch.cat([p[name] for p in parts]).double()[:n] for name in ("state", "action"))


def test_velocity(result):
    """A latent that is the position alone does not hold the last displacement; the actions do, but for the walls."""
    assert value(result, "rollout", "velocity_rmse_px") > 0.5 * value(result, "constant", "velocity_rmse_px")
    assert value(result, "dead-reckoning", "velocity_rmse_px") < value(result, "constant", "velocity_rmse_px")


def test_the_start_has_its_own_probe():
    class Shifted(Knows):
        """What it imagines is on another scale than what it encodes."""

        def imagine(self, start, action):
            return -0.1 * super().imagine(start, action) + 2

    own, shared = (replace(SMALL, shared=s).run(Shifted(WORLD), WORLD) for s in (False, True))
    assert value(own, "rollout", "rmse_px") < 0.05
    assert value(shared, "rollout", "rmse_px_start") > 1
    assert (own.task, shared.task) == ("probe-rollout", "probe-rollout-shared")


def test_the_original_protocol_is_far_from_converged_and_repeats(result):
    task = replace(SMALL, protocol="sgd", shared=True, epochs=3)
    first, again = (value(task.run(Knows(WORLD), WORLD), "rollout", "rmse_px") for _ in range(2))
    assert first == again and first > 10 * value(result, "rollout", "rmse_px")
    longer = value(replace(task, epochs=30).run(Knows(WORLD), WORLD), "rollout", "rmse_px")
    assert longer < first


def test_a_blind_model_is_the_constant():
    class Blind(Knows):
        def imagine(self, start, action):
            return torch.zeros(*action.shape[:2], 5)

    result = SMALL.run(Blind(WORLD, blind=True), WORLD)
    assert value(result, "rollout", "rmse_px") == pytest.approx(value(result, "constant", "rmse_px"), rel=0.02)


def test_dataset_and_online_source_are_the_world(tmp_path, result):
    make_dataset(WORLD, tmp_path / "d", sizes={"train": 300, "test": 200})
    stored = SMALL.run(Knows(WORLD), Dataset(tmp_path / "d"))
    online = SMALL.run(Knows(WORLD), OnlineSource(WORLD))
    for row, other, third in zip(result.rows, stored.rows, online.rows, strict=True):
        assert row.value == pytest.approx(other.value, abs=1e-6, nan_ok=True)
        assert row.value == pytest.approx(third.value, abs=1e-6, nan_ok=True)
    assert TASKS["probe-rollout"] is ProbeRollout


def test_dots_are_told_apart():
    class Two(Point):
        """A second dot that stands still, and that the model does not know."""

        def simulate(self, parameters, steps, generator):
            one = super().simulate(parameters, steps, generator)
            still = 3 * torch.rand(len(parameters), 1, 2, generator=generator, dtype=torch.float64) + 5
            return replace(one, state=torch.cat([one.state, still.expand_as(one.state)], -1))

    rows = table(SMALL.run(Knows(WORLD), Two()))
    assert rows["rollout", "rmse_px_dot", 1].value < 0.05 < 0.5 < rows["rollout", "rmse_px_dot", 2].value
    assert rows["dead-reckoning", "rmse_px_dot", 2].value == 0
    assert rows["rollout", "rmse_px_step", "2", 4].value > 0.5
    both = (rows["rollout", "rmse_px_dot", 1].value ** 2 + rows["rollout", "rmse_px_dot", 2].value ** 2) / 2
    assert rows["rollout", "rmse_px_rollout", 9, 2].value == pytest.approx(both**0.5, rel=1e-6)


def test_errors_are_one_line():
    with pytest.raises(UserError, match="probe-rollout: Point does not have the capability Imagines"):
        SMALL.run(WORLD, WORLD)

    class Still(Point):
        def simulate(self, parameters, steps, generator):
            return replace(super().simulate(parameters, steps, generator), action=None)

    for task, world, words in [
        (SMALL, Still(), "a world with actions"),
        (replace(SMALL, dims=(0,)), WORLD, "x and y of each dot"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            task.run(Knows(WORLD), world)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "train"}, r"\.split: expected another split than 'train'"),
        ({"ridge": -1.0}, "ridge >= 0"),
        ({"train_sequences": 0}, r"\.train_sequences: expected at least 2, got 0"),
        ({"sequences": 1}, r"\.sequences: expected at least 2, got 1"),
        ({"batch_size": 0}, r"\.batch_size: expected at least 1, got 0"),
        ({"resamples": 0}, r"\.resamples: expected at least 2, got 0"),
        ({"epochs": 0}, r"\.epochs: expected at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_named(options, words):
    with pytest.raises(UserError, match=f"probe-rollout.*{words}"):
        ProbeRollout(**options)
