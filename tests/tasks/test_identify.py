from dataclasses import replace

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.models.one_step_transformer import OneStepTransformerConfig
from dynarium.models.residual_identifier import ResidualIdentifierConfig
from dynarium.models.sequence_identifier import SequenceIdentifierConfig
from dynarium.models.simulation_transformer import SimulationTransformerConfig
from dynarium.systems.identification import RandomLti
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.classical import IDENTIFIERS, QUICK
from dynarium.tasks.identifiers import Scaled, Subspace, ridge_solution
from dynarium.tasks.identify import Identify

TASK = Identify(context=120, horizon=30, batch_size=16)


class Oracle(torch.nn.Module):
    """Knows the outputs by the inputs, and errs by a given Gaussian."""

    def __init__(self, dataset, error=0.0):
        super().__init__()
        whole = dataset.batch("test", range(dataset.size("test")))
        self.u, self.y, self.error = whole.action, whole.observation, error

    def simulate(self, context, action):
        self.seen = context
        first = action.shape[1]
        rows = [(self.u[:, -first:] == one).all((1, 2)).nonzero()[0, 0] for one in action]
        truth = self.y[torch.stack(rows), -first:]
        noise = self.error * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
        return truth + noise, torch.full_like(truth, max(self.error, 1e-6))


class Next(torch.nn.Module):
    """Says that the next output is the one before."""

    def predict_next(self, batch):
        return batch.observation.roll(1, 1), None


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    world = RandomLti(law=LinearLaw(order=4), steps=150)
    return make_dataset(world, tmp_path_factory.mktemp("d") / "lti", sizes={"test": 16})


def table(result):
    return {
        (r.method, r.metric, r.condition["question"], r.condition["context"], r.condition["noise"]): r.value
        for r in result.rows
    }


def test_baselines_are_ordered_as_the_systems_are_linear(dataset):
    found = table(TASK.run(Oracle(dataset), dataset))
    rmse = {m: found[m, "rmse", "simulation", 120, 0.0] for m in ("model", *QUICK)}
    assert rmse["model"] == 0
    assert rmse["arx"] < 1e-3 and rmse["subspace"] < 1e-2 < 0.5 < rmse["context-mean"] < rmse["last-value"] * 1.5
    assert rmse["fir"] < 0.2
    assert (
        found["model", "fit_index", "simulation", 120, 0.0] == 100 and found["model", "r2", "simulation", 120, 0.0] == 1
    )
    assert found["arx", "seconds", "simulation", 120, 0.0] > 0


def test_rmse_is_of_each_sequence_and_then_averaged(dataset):
    found = table(replace(TASK, baselines=("context-mean",)).run(Oracle(dataset), dataset))
    y = dataset.read("test", range(16))["observation"].astype(float)
    error = y[:, 120:] - y[:, :120].mean(1, keepdims=True)
    rmse = np.sqrt((error**2).mean((1, 2)))
    std = y[:, 120:].std((1, 2))
    for metric, value in (
        ("rmse", rmse.mean()),
        ("nrmse", (rmse / std).mean()),
        ("fit_index", 100 * (1 - rmse / std).mean()),
        ("r2", (1 - (rmse / std) ** 2).mean()),
    ):
        assert found["context-mean", metric, "simulation", 120, 0.0] == pytest.approx(value, rel=1e-6)


def test_coverage_of_an_honest_gaussian(dataset):
    found = table(replace(TASK, baselines=()).run(Oracle(dataset, error=0.2), dataset))
    assert found["model", "coverage_90", "simulation", 120, 0.0] == pytest.approx(0.9, abs=0.04)
    assert found["model", "rmse", "simulation", 120, 0.0] == pytest.approx(0.2, abs=0.02)


def test_sweeps_keep_the_horizon_and_hide_the_rest(dataset):
    model = Oracle(dataset)
    task = replace(TASK, contexts=(60,), noise=(0.0, 0.3), baselines=("arx",))
    found = table(task.run(model, dataset))
    assert model.seen.observation.shape[1] == 60
    assert found["model", "rmse", "simulation", 60, 0.3] == 0  # scored against the outputs as stored
    for context in (60, 120):
        assert found["arx", "rmse", "simulation", context, 0.3] > 10 * found["arx", "rmse", "simulation", context, 0.0]
    assert found["arx", "rmse", "simulation", 60, 0.3] > found["arx", "rmse", "simulation", 120, 0.3]


def test_a_context_too_short_for_a_baseline_leaves_out_that_one_alone(dataset):
    task = replace(TASK, context=120, contexts=(16, 5), baselines=("context-mean", "fir", "arx", "kalman-em"))
    result = task.run(Oracle(dataset), dataset)
    asked = {length: {key[0] for key in table(result) if key[3] == length} for length in (5, 16, 120)}
    assert asked[120] == {"model", "context-mean", "fir", "arx", "kalman-em"}
    assert asked[16] == {"model", "context-mean", "arx"} and asked[5] == {"model", "context-mean"}
    (left_out,) = result.protocol.values()
    assert left_out == {"simulation, context 16": "fir, kalman-em", "simulation, context 5": "fir, arx, kalman-em"}
    assert not TASK.run(Oracle(dataset), dataset).protocol
    one_step = replace(task, context=5, contexts=(), horizon=10).run(Next(), dataset)
    assert {row.method for row in one_step.rows} == {"model", "context-mean"}


LENGTHS = {"context": 120, "horizon": 30}
SIMULATOR = SimulationTransformerConfig(layers=1, heads=2, width=8, **LENGTHS)
READER = SequenceIdentifierConfig(layers=1, width=8, states=4, **LENGTHS)


@pytest.mark.parametrize(
    "options",
    [
        SIMULATOR,
        replace(SIMULATOR, patch=8, positions="rotary", normalisation="none"),
        replace(SIMULATOR, patch=8, patching="recurrent"),
        READER,
        replace(READER, cell="lstm"),
        ResidualIdentifierConfig(network=SIMULATOR),
        ResidualIdentifierConfig(network=replace(READER, cell="lstm", probabilistic=True)),
        OneStepTransformerConfig(steps=150, layers=1, heads=1, width=8),
        OneStepTransformerConfig(steps=150, layers=1, heads=1, width=8, positions="rotary", current_input=False),
    ],
)
def test_every_model_reads_shorter_contexts_than_it_was_trained_with(options, dataset):
    task = Identify(contexts=(2, 25, 50), sequences=4, baselines=())
    found = table(task.run(options.build().eval(), dataset))
    question = "one-step" if isinstance(options, OneStepTransformerConfig) else "simulation"
    assert all(np.isfinite(found["model", "rmse", question, length, 0.0]) for length in (2, 25, 50, 120))


def test_one_step(dataset):
    found = table(TASK.run(Next(), dataset))
    assert found["model", "rmse", "one-step", 120, 0.0] == pytest.approx(
        found["last-value", "rmse", "one-step", 120, 0.0], rel=1e-5
    )
    assert found["arx", "rmse", "one-step", 120, 0.0] < 1e-3
    assert not any(key[0] == "subspace" for key in found)


QUICKER = {
    # Of more states than the system has, some are next to nothing, and what EM makes of these is rounding.
    "kalman-em": {"iterations": 2, "start": Subspace(orders=(1, 2))},
    "wiener-hammerstein": {"steps": 3, "restarts": 4, "kept": 2},
}


def quick(name):
    return Scaled(replace(IDENTIFIERS[name].method, **QUICKER.get(name, {})))


@pytest.mark.parametrize("name", list(IDENTIFIERS))
def test_no_method_reads_the_future(name):
    random = torch.Generator().manual_seed(0)
    u, y = torch.randn(2, 3, 150, 1, dtype=torch.float64, generator=random)
    method = quick(name)
    other = u.clone()
    other[:, 130:] = 1e3 * other[:, 130:] + 1
    a, b = (method.simulate(u[:, :120], y[:, :120], x[:, 120:])[0] for x in (u, other))
    torch.testing.assert_close(a[:, :10], b[:, :10])
    changed = y.clone()
    changed[:, 130:] = 1e3 * changed[:, 130:] + 1
    a, b = (method.predict_next(u, x, 120) for x in (y, changed))
    if a is not None:
        torch.testing.assert_close(a[0][:, :11], b[0][:, :11])


@pytest.mark.parametrize("name", list(IDENTIFIERS))
def test_answers_follow_the_units_of_the_signals(name):
    world = RandomLti(law=LinearLaw(order=3), steps=150, measurement_noise_std=0.1)
    generator = torch.Generator().manual_seed(0)
    drawn = world.simulate(world.sample_parameters(4, generator), 150, generator)
    u, y, method = drawn.action, drawn.observation, quick(name)
    for of_u, of_y in (((1e3, -40.0), (1e-2, 5.0)), ((1e-3, 2.0), (1e5, 1e6))):
        other_u, other_y = of_u[0] * u + of_u[1], of_y[0] * y + of_y[1]
        pairs = [method.simulate(a[:, :120], b[:, :120], a[:, 120:]) for a, b in ((u, y), (other_u, other_y))]
        if method.predict_next(u, y, 120) is not None:
            pairs += [method.predict_next(a, b, 120) for a, b in ((u, y), (other_u, other_y))]
        for (mean, deviation), (other, other_deviation) in zip(pairs[::2], pairs[1::2], strict=True):
            torch.testing.assert_close(other, of_y[0] * mean + of_y[1], rtol=1e-6, atol=1e-6 * of_y[0])
            if deviation is not None:
                torch.testing.assert_close(other_deviation, of_y[0] * deviation, rtol=1e-6, atol=0)


def test_several_channels():
    world = RandomLti(law=LinearLaw(order=3), inputs=2, outputs=2, steps=200)
    generator = torch.Generator().manual_seed(0)
    drawn = world.simulate(world.sample_parameters(6, generator), 200, generator)
    u, y = drawn.action, drawn.observation
    for name in ("arx", "output-error", "subspace", "kalman-em"):
        found, _ = IDENTIFIERS[name].simulate(u[:, :160], y[:, :160], u[:, 160:])
        assert (found - y[:, 160:]).square().mean().sqrt() < 1e-2


def test_ridge_solves_the_penalised_equations():
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, 30, k, dtype=torch.float64, generator=random) for k in (5, 2))
    penalty = 0.1 * 30 * x.square().mean((1, 2))[:, None, None] * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(ridge_solution(x, y, 0.1), torch.linalg.solve(x.mT @ x + penalty, x.mT @ y))


def test_bad_questions(dataset, tmp_path):
    for task, word in (
        (replace(TASK, context=150), "context"),
        (replace(TASK, contexts=(121,)), "contexts"),
        (replace(TASK, noise=(-0.1,)), "noise"),
        (replace(TASK, baselines=("magic",)), "magic"),
    ):
        with pytest.raises(UserError, match=word):
            task.run(Next(), dataset)
    with pytest.raises(UserError, match="neither"):
        TASK.run(torch.nn.Linear(1, 1), dataset)
    u, y = np.random.default_rng(0).normal(size=(2, 3, 150, 1))
    y[1, :120] = 0.5
    write_arrays(tmp_path / "still", {"test": {"action": u, "observation": y}})
    with pytest.raises(UserError, match="channel 0 of 'observation' is constant .* sequence 1"):
        TASK.run(Next(), Dataset(tmp_path / "still"))
    write_arrays(tmp_path / "alone", {"test": {"observation": y}})
    with pytest.raises(UserError, match="action"):
        TASK.run(Next(), Dataset(tmp_path / "alone"))
