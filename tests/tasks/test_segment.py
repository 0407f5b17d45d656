"""Segmentation and forecasts of observations: a model that knows all is perfect, trivial answers score what they must."""

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, write_arrays
from dynarium.errors import UserError
from dynarium.tasks.forecast_observations import ForecastObservations
from dynarium.tasks.segment import Segment


def arrays(n, seed, t=30):
    """Two modes: rising by 1 a step, and falling by 2; where a mode starts has nothing to do with the place."""
    g = np.random.default_rng(seed)
    mode = (np.arange(t) // 6 + g.integers(2, size=(n, 1))) % 2
    step = np.where(mode == 0, 1.0, -2.0)
    y = (10 * g.normal(size=(n, 1)) + np.cumsum(step, 1))[..., None] * np.array([1.0, -3.0])
    mask = g.random((n, t)) > 0.1
    return {"observation": np.where(mask[..., None], y, 99.0), "mode": mode, "mask": mask}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where = tmp_path_factory.mktemp("data") / "d"
    write_arrays(where, {"train": arrays(40, 0), "test": arrays(30, 1)})
    return Dataset(where)


class Knowing:
    """Knows the modes, by other names; tells those of the step before; says the last value again."""

    def segment(self, batch):
        mode = 1 - batch.mode.long()
        return torch.cat([mode[:, :1], mode[:, :-1]], 1)

    def forecast_observations(self, context, horizon, *, samples=1, generator=None):
        return torch.zeros(samples, len(context), horizon, 2, dtype=torch.float64)

    def bound(self, batch):
        return batch.observed().sum(1).double() * 2


def table(result):
    return {(row.method, row.metric, *row.condition.values()): row for row in result.rows}


def test_modes_are_matched(dataset):
    result = Segment(shifts=(0, 1), batch_size=7).run(Knowing(), dataset)
    rows = table(result)
    assert rows["viterbi", "accuracy", 1].value == 1.0 and rows["viterbi", "accuracy", 1].n == 30
    assert 0.75 < rows["viterbi", "accuracy", 0].value < 0.95
    for name in ("majority", "kmeans", "kmeans-step"):
        assert 0.45 <= rows[name, "accuracy", 0].value < 0.65 and rows[name, "accuracy", 0].baseline
    inferred, truth = result.examples["mode/inferred-shift-1"], result.examples["mode/truth"]
    known = torch.as_tensor(np.asarray(dataset.read("test", np.arange(6))["mask"]))[:, :-1].bool()
    assert torch.equal(inferred[known], truth[:, :-1][known])


def test_forecasts_are_scored_by_the_training_variance(dataset):
    result = ForecastObservations(context=10, ahead=(1, 5), samples=2, batch_size=8).run(Knowing(), dataset)
    rows = table(result)
    arrays_ = dataset.read("test", np.arange(30))
    train = dataset.read("train", np.arange(40))
    mask, y = arrays_["mask"].astype(bool), arrays_["observation"]
    variance = train["observation"][train["mask"].astype(bool)].var(0)
    wanted = ((y[:, 10:] ** 2) / variance).mean(-1)[mask[:, 10:]].mean()
    assert rows["mean", "normalised_mse_mean", 20].value == pytest.approx(wanted, rel=1e-5)
    assert rows["sample", "normalised_mse_mean", 20].value == pytest.approx(wanted, rel=1e-5)
    assert rows["training-mean", "normalised_mse_mean", 20].value < 2
    assert rows["hold-last", "normalised_mse", 1].value < 0.2
    assert rows["model", "log_likelihood", 30].value == pytest.approx(2.0)
    fifth = (np.abs(y[:, 14] - y[:, 9]) ** 2 / variance).mean(-1)[mask[:, 14] & mask[:, 9]]
    assert rows["hold-last", "normalised_mse", 5].value == pytest.approx(fifth.mean(), rel=0.5)
    assert all(np.isfinite(row.value) for row in result.rows)


def test_errors(dataset, tmp_path):
    with pytest.raises(UserError, match="Tensor does not have the capability Segments"):
        Segment().run(torch.zeros(1), dataset)
    with pytest.raises(UserError, match="does not have the capability ForecastsObservations"):
        ForecastObservations().run(torch.zeros(1), dataset)
    with pytest.raises(UserError, match="segment.shifts: expected numbers of at least 0"):
        Segment(shifts=())
    with pytest.raises(UserError, match="segment.shifts: expected less than the 30 steps, got 30"):
        Segment(shifts=(30,)).run(Knowing(), dataset)
    with pytest.raises(UserError, match="got context 25 and horizon 9"):
        ForecastObservations(context=25, horizon=9).run(Knowing(), dataset)
    write_arrays(tmp_path / "e", {"test": {"observation": np.zeros((3, 30, 2))}})
    with pytest.raises(UserError, match="this task needs the field 'mode'"):
        Segment().run(Knowing(), Dataset(tmp_path / "e"))
