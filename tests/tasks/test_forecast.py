"""Forecasting: how long it holds, how far the object is off, contexts of the same task, rows by task."""

import math

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, few_shot_batches, write_arrays
from dynarium.errors import UserError
from dynarium.tasks.forecast import Forecast

SIDE, STEPS = 16, 10


def film(v, start):
    """A square of 2 x 2 pixels that moves v columns a step on a ring, under a bright ceiling."""
    video = np.zeros((STEPS, 1, SIDE, SIDE), np.uint8)
    video[:, 0, 0] = 255
    for t in range(STEPS):
        column = (start + v * t) % (SIDE - 1)
        video[t, 0, 6:8, column : column + 2] = 255
    return video


def arrays(n, seed):
    g = np.random.default_rng(seed)
    task = np.arange(n) % 3
    return {
        "video": np.stack([film(0 if k == 0 else 2 * k, g.integers(SIDE - 1)) for k in task]),
        "task": task,
        "parameter": np.arange(n)[:, None] * 1.0,
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where = tmp_path_factory.mktemp("data") / "d"
    write_arrays(where, {"train": arrays(30, 0), "test": arrays(24, 1)})
    return Dataset(where)


class Until:
    """Knows the future of the dataset's sequences for some steps, then answers with black frames; keeps its contexts."""

    def __init__(self, dataset, right):
        self.video = dataset.batch("test", range(24)).video / 255
        self.right, self.contexts = right, []

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        self.contexts.append(context)
        start = context.video.shape[1]
        frames = self.video[context.parameter[:, 0].long()][:, start : start + horizon].clone()
        frames[:, self.right :] = 0
        return frames.expand(samples, *frames.shape)


def values(result):
    return {(r.method, r.metric, *r.condition.values()): r for r in result.rows}


def test_a_forecast_that_is_right_for_three_steps(dataset):
    task = Forecast(
        context=2,
        samples=2,
        threshold=0.01,
        metrics=(*Forecast().metrics, "valid_prediction_time_last", "normalised_mse"),
    )
    rows = values(task.run(Until(dataset, 3), dataset))
    longest = math.hypot(SIDE, SIDE)
    for method in ("mean", "sample"):
        assert rows[method, "valid_prediction_time", 8, 0.01].value == pytest.approx(3 / 8)
        assert rows[method, "valid_prediction_time_last", 8, 0.01].value == pytest.approx(3 / 8)
        assert rows[method, "valid_prediction_distance", 8, 10.0].value == pytest.approx(3 / 8)
        assert rows[method, "centroid_distance", 3].value == 0
        assert rows[method, "centroid_distance", 4].value == pytest.approx(longest)
        assert rows[method, "centroid_distance_mean", 8].value == pytest.approx(longest * 5 / 8)
        assert rows[method, "normalised_mse", 8].value == pytest.approx(5 / 8)
        assert rows[method, "valid_prediction_time", 8, 0.01].n == 24
    assert rows["blank", "valid_prediction_time", 8, 0.01].value == 0
    assert rows["blank", "centroid_distance_mean", 8].value == pytest.approx(longest)
    # A third of the squares stand still; of the others every step moves 2 or 4 columns, on a ring of 15.
    held = rows["hold-last", "valid_prediction_time", 8, 0.01]
    assert held.value == pytest.approx(1 / 3) and held.baseline
    squares = dataset.batch("test", range(24)).video[:, :, 0, 6] // 255
    columns = (squares * torch.arange(SIDE)).sum(2) / 2
    moved = (columns[:, 4] - columns[:, 1]).abs().mean()  # in the frame: who leaves on one side comes in on the other
    assert rows["hold-last", "centroid_distance", 3].value == pytest.approx(moved.item())
    only = Forecast(context=2, metrics=("mse",)).run(Until(dataset, 3), dataset)
    assert {row.metric for row in only.rows} == {"mse", "mse_mean"}


def test_an_answer_that_is_not_a_number_is_an_error_and_no_gap(dataset):
    class Broken(Until):
        def forecast(self, *args, **options):
            return super().forecast(*args, **options) * torch.nan

    task = Forecast(
        context=2,
        metrics=("mse", "normalised_mse", "valid_prediction_time", "centroid_distance", "valid_prediction_distance"),
    )
    rows = values(task.run(Broken(dataset, 3), dataset))
    assert math.isnan(rows["mean", "mse_mean", 8].value) and math.isnan(rows["mean", "normalised_mse", 8].value)
    assert (
        rows["mean", "valid_prediction_time", 8, 0.02].value
        == rows["mean", "valid_prediction_distance", 8, 10.0].value
        == 0
    )
    assert rows["mean", "centroid_distance_mean", 8].value == pytest.approx(math.hypot(SIDE, SIDE))


def test_rows_by_task(dataset):
    result = Forecast(context=2, per_task=True, batch_size=7).run(Until(dataset, 3), dataset)
    rows = values(result)
    assert [rows["hold-last", "valid_prediction_time", 8, 0.02, k].value for k in range(3)] == [
        1.0,
        pytest.approx(0, abs=0.1),
        pytest.approx(0, abs=0.1),
    ]
    assert {rows["mean", "mse_mean", 8, k].n for k in range(3)} == {8}
    assert rows["mean", "mse_mean", 8].value == pytest.approx(
        np.mean([rows["mean", "mse_mean", 8, k].value for k in range(3)])
    )
    assert ("mean", "mse", 1, 0) not in rows


def test_contexts_are_whole_of_the_same_task_and_not_asked(dataset):
    task, model = Forecast(context=2, shots=3, batch_size=10, context_seed=5), Until(dataset, 8)
    result = task.run(model, dataset)
    assert result.task == task.name == "forecast-3-shot"
    assert values(result)["mean", "mse_mean", 8].n == 24 - 3 * 3
    assert values(result)["mean", "mse_mean", 8].value == 0
    given = [batch for batch in model.contexts if batch.video.shape[1] == 2]
    asked = torch.cat([batch.parameter[:, 0] for batch in given]).tolist()
    shown = torch.cat([batch.context.parameter[:, 0] for batch in given]).tolist()
    assert not set(asked) & set(shown) and len(set(asked)) == 15 and len(set(shown)) == 9
    for batch in given:
        assert batch.context.video.shape[1] == STEPS
        for i in range(len(batch)):
            mine = batch.context.episode == batch.episode[i]
            assert mine.sum() == 3 and (batch.context.task[mine] == batch.task[i]).all()
    again = [b.context.parameter for b in few_shot_batches(dataset, "test", shots=3, batch_size=10, seed=5)]
    assert torch.equal(torch.cat([b.context.parameter for b in given[::2]]), torch.cat(again))


def test_bad_questions(dataset, tmp_path):
    plain = {name: value for name, value in arrays(6, 0).items() if name != "task"}
    write_arrays(tmp_path / "p", {"train": plain, "test": plain})
    with pytest.raises(UserError, match="per_task: expected the field 'task'"):
        Forecast(per_task=True).run(Until(dataset, 1), Dataset(tmp_path / "p"))
    with pytest.raises(UserError, match="has no field 'task'"):
        Forecast(shots=1).run(Until(dataset, 1), Dataset(tmp_path / "p"))
    with pytest.raises(UserError, match="has 8 sequences of it; this needs 9"):
        Forecast(shots=8).run(Until(dataset, 1), dataset)
    with pytest.raises(UserError, match="shots: expected at least 0, got -1"):
        Forecast(shots=-1)
