"""What the perfect model would score: exact where it can be worked out, ahead of what knows less, absent where unknown."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, make_dataset, write_arrays
from dynarium.reporting.rows import record_of
from dynarium.systems.lorenz import lorenz
from dynarium.systems.nascar import nascar
from dynarium.systems.oscillators import duffing, forced_pendulum
from dynarium.tasks.ceiling import true_model
from dynarium.tasks.forecast_observations import ForecastObservations

SIZES = {"train": 4, "test": 12}


def made(world, where, steps=40):
    make_dataset(world, where, sizes=SIZES, steps=steps, seed=0)
    return Dataset(where)


class HoldsLast:
    """A model that says the last observation again."""

    def forecast_observations(self, context, horizon, *, samples=1, generator=None):
        return context.observation[:, -1:].double().expand(samples, -1, horizon, -1)

    def bound(self, batch):
        return torch.zeros(len(batch), dtype=torch.float64)


def rows(dataset, **options):
    result = ForecastObservations(context=25, ahead=(1, 10), samples=0, batch_size=8, **options).run(
        HoldsLast(), dataset
    )
    return {(row.method, row.metric, *row.condition.values()): row for row in result.rows}


@pytest.mark.parametrize("make", [nascar, forced_pendulum, duffing])
def test_the_true_model_is_ahead(make, tmp_path):
    world = make() if make is nascar else replace(make(), observations=3)
    found = rows(made(world, tmp_path / "d"))
    for ahead in (1, 10):
        best = found["true-model", "normalised_mse", ahead]
        assert record_of(best).kind == "bound" and best.n == 12
        assert best.value < 0.6 * found["mean", "normalised_mse", ahead].value
    assert ("true-model", "log_likelihood", 40) in found


def test_of_a_world_without_noise_the_bound_is_zero_and_there_is_no_likelihood(tmp_path):
    found = rows(made(lorenz(), tmp_path / "d"))
    assert found["true-model", "normalised_mse", 10].value < 1e-10
    assert ("model", "log_likelihood", 40) in found and ("true-model", "log_likelihood", 40) not in found


def test_nothing_is_known_of_noise(tmp_path):
    world = replace(duffing(), observations=2, observation_noise_std=50.0)
    found = rows(made(world, tmp_path / "d"))
    mean = found["training-mean", "normalised_mse_mean", 15].value
    assert found["true-model", "normalised_mse_mean", 15].value == pytest.approx(mean, rel=0.05)


def test_hidden_steps_are_not_used(tmp_path):
    dataset = made(nascar(), tmp_path / "d")
    batch = dataset.batch("test", range(6))
    model = true_model(dataset, torch.ones(10, dtype=torch.float64))
    mask = torch.rand(6, 40, generator=torch.Generator().manual_seed(1)) > 0.3
    poisoned = torch.where(mask[..., None], batch.observation, torch.nan)

    def asked(observation):
        given = replace(batch, observation=observation, mask=mask)
        g = torch.Generator().manual_seed(0)
        return model.forecast(given, 25, 10, samples=5, generator=g), model.log_likelihood(given)

    for a, b in zip(asked(poisoned), asked(batch.observation), strict=True):
        assert torch.equal(a, b)
    future = batch.observation.clone()
    future[:, 25:] = 99.0
    assert torch.equal(asked(future)[0], asked(batch.observation)[0])


def test_data_of_an_unknown_law_have_no_bound(tmp_path):
    write_arrays(tmp_path / "d", {name: {"observation": np.zeros((n, 40, 2))} for name, n in SIZES.items()})
    dataset = Dataset(tmp_path / "d")
    assert true_model(dataset, torch.ones(2, dtype=torch.float64)) is None
    assert true_model(made(nascar(), tmp_path / "n"), torch.ones(10, dtype=torch.float64)) is not None
    assert ("true-model", "log_likelihood", 40) not in rows(made(nascar(), tmp_path / "m"), true_model_samples=0)
