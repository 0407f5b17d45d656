"""Tasks: a perfect model scores perfectly, a blank one scores like the blank row, and numbers equal a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynarium.data import Dataset, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.metrics.estimate import ratio_estimate
from dynarium.metrics.frames import frame_change, nearest_wrong_pixels, squared_error, wrong_pixels
from dynarium.nn.frames import as_float
from dynarium.tasks.baselines import background, hold_last, interpolate
from dynarium.tasks.forecast import Forecast
from dynarium.tasks.generate import Generate
from dynarium.tasks.impute import Impute
from dynarium.tasks.masks import block_mask, random_mask
from dynarium.types import Result
from worlds import Drift


class Oracle:
    """Knows the world: the lit pixel moves v columns a step."""

    def __init__(self, wrong=False):
        self.wrong = wrong
        self.seen = []

    def impute(self, batch):
        self.seen.append(batch.mask)
        truth = batch.video / 255
        return {"smooth": torch.zeros_like(truth) if self.wrong else truth}

    def reconstruct(self, batch):
        return batch.video / 255

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        columns = (context.video[:, :, 0] > 0).float().amax(-2).argmax(-1)
        rows = (context.video[:, 0, 0] > 0).float().amax(-1).argmax(-1)
        v = (columns[:, 1] - columns[:, 0]) % 8
        future = (columns[:, -1:] + v[:, None] * torch.arange(1, horizon + 1)) % 8
        frames = torch.zeros(len(v), horizon, 1, 8, 8)
        b, t = torch.meshgrid(torch.arange(len(v)), torch.arange(horizon), indexing="ij")
        frames[b, t, 0, rows[:, None].expand_as(future), future] = 1.0
        return frames.expand(samples, *frames.shape)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(Drift(steps=8), tmp_path_factory.mktemp("data") / "d", sizes={"train": 300, "test": 60})


def rows_of(result, **wanted):
    found = [r for r in result.rows if all(getattr(r, k, r.condition.get(k)) == v for k, v in wanted.items())]
    assert found, wanted
    return found


def test_impute(dataset):
    task = Impute(random_p=(0.5, 1.0), block_steps=(2, 99), all_frames_rates=(0.4,), batch_size=25)
    result = task.run(Oracle(), dataset)
    assert {row.value for row in rows_of(result, method="smooth")} == {0.0}
    assert {row.value for row in rows_of(result, method="generate")} == {0.0}
    assert {row.condition.get("steps") for row in rows_of(result, mask="block")} == {2}
    assert all(row.baseline == (row.method in ("blank", "hold-last", "interpolate")) for row in result.rows)
    assert not [r for r in result.rows if r.condition["mask"] == "all" and r.metric == "wrong_pixels_missing"]
    blank = rows_of(result, method="blank", metric="wrong_pixels_missing", p=1.0)[0]
    assert blank.value == pytest.approx(1 / 64)  # one lit pixel of 64, and the background is dark
    assert blank.n == 60
    held = rows_of(result, method="hold-last", metric="wrong_pixels_missing", mask="block")[0]
    video = dataset.batch("test", range(60)).video / 255
    by_hand = [(video[i, 3] != video[i, t]).float().mean().item() for i in range(60) for t in (4, 5)]
    assert held.value == pytest.approx(np.mean(by_hand))
    per_sequence = np.array(by_hand).reshape(60, 2).mean(1)
    assert held.standard_error == pytest.approx(per_sequence.std(ddof=1) / 60**0.5, rel=1e-5)
    wrong = task.run(Oracle(wrong=True), dataset)
    same = rows_of(wrong, method="smooth", metric="wrong_pixels_missing", p=1.0)[0]
    assert same.value == pytest.approx(1 / 64)
    assert result.examples["video/truth"].shape == (6, 8, 1, 8, 8)
    assert {"video/observed", "video/smooth", "video/generated", "mask", "state"} <= set(result.examples)


def test_masks_of_a_task_repeat(dataset):
    a, b = Oracle(), Oracle()
    task = Impute(random_p=(0.5,), block_steps=(), all_frames_rates=())
    task.run(a, dataset)
    task.run(b, dataset)
    assert all(map(torch.equal, a.seen, b.seen))


def test_no_batch_size_changes_what_is_asked(dataset):
    asked = []
    for batch_size in (60, 7):
        oracle = Oracle()
        result = Impute(batch_size=batch_size).run(oracle, dataset)
        masks = [oracle.seen[i :: len(oracle.seen) // -(-60 // batch_size)] for i in range(3)]
        asked.append((torch.stack([torch.cat(parts) for parts in masks]), [row.value for row in result.rows]))
    assert torch.equal(asked[0][0], asked[1][0])
    assert asked[0][1] == pytest.approx(asked[1][1])


class Recorder(Oracle):
    """Answers with noise, and keeps what it was given to look at."""

    def impute(self, batch):
        self.seen.append(torch.where(batch.mask[..., None, None, None], batch.video, 0))
        return {"smooth": self._noise(batch.video.shape)}

    def reconstruct(self, batch):
        return self._noise(batch.video.shape)

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        self.seen.append(torch.where(context.mask[..., None, None, None], context.video, 0))
        return self._noise((samples, len(context), horizon, *context.video.shape[2:]))

    @staticmethod
    def _noise(shape):
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("field", ["length", "mask"])
def test_padding_and_missing_frames_are_neither_given_nor_scored(dataset, tmp_path, field):
    """What the data's own lengths and masks leave out may hold anything: no answer, no row, no baseline changes."""
    video, g = dataset.read("test", range(60))["video"], np.random.default_rng(0)
    length = g.integers(1, 9, 60)
    known = np.arange(8) < length[:, None] if field == "length" else g.random((60, 8)) > 0.4
    known[:, 0] = True
    rows, seen = [], []
    for fill in (0, 255):
        arrays = {"video": np.where(known[..., None, None, None], video, fill).astype(np.uint8)}
        arrays[field] = length if field == "length" else known
        write_arrays(tmp_path / f"{fill}", {"train": arrays, "test": arrays})
        model = Recorder()
        tasks = (
            Impute(random_p=(0.5,), block_steps=(2,), all_frames_rates=(0.4,)),
            Forecast(samples=1),
            Generate(steps=8),
        )
        rows.append([row for task in tasks for row in task.run(model, Dataset(tmp_path / f"{fill}")).rows])
        seen.append(model.seen)
    assert all(map(torch.equal, *seen))
    for a, b in zip(*rows, strict=True):
        assert (a.method, a.metric, a.condition, a.n) == (b.method, b.metric, b.condition, b.n)
        assert a.value == pytest.approx(b.value, nan_ok=True), a
    if field == "length":
        last = rows_of(Result(task="", rows=tuple(rows[0])), method="mean", metric="mse")[-1]
        assert last.condition == {"steps ahead": 4} and last.n == (length == 8).sum()


class Leaking(Oracle):
    """Blurs over time without asking which frames are hidden: what stands there reaches its answer."""

    def impute(self, batch):
        frames = as_float(batch.video)
        return {"smooth": (frames + frames.roll(1, 1)) / 2}


class Blind(Oracle):
    """The same on what it may see."""

    def impute(self, batch):
        seen = torch.where(batch.mask[..., None, None, None], as_float(batch.video), 0.0)
        return {"smooth": (seen + seen.roll(1, 1)) / 2}


@pytest.mark.parametrize("hidden", ["noise", "nan"])
def test_a_leak_shows_where_hidden_frames_are_replaced(dataset, hidden):
    kept = Impute(random_p=(0.5,), block_steps=(2,), all_frames_rates=(0.4,))
    other = replace(kept, hidden=hidden)
    assert (kept.name, other.name) == ("impute", f"impute-{hidden}")
    for model, same in ((Blind(), True), (Leaking(), False)):
        before, after = (task.run(model, dataset).rows for task in (kept, other))
        changed = {row.method for row, was in zip(after, before, strict=True) if row != was}
        assert changed == (set() if same else {"smooth"}), "truth and trivial rows stay what they are"
        scores = [row for row in after if row.method == "smooth" and row.metric == "mse_missing"]
        assert all(np.isfinite(row.value) for row in scores) == (same or hidden == "noise")


def test_forecast(dataset):
    result = Forecast(context=3, samples=2, batch_size=25).run(Oracle(), dataset)
    for method in ("mean", "sample"):
        valid = [row for row in rows_of(result, method=method) if row.metric.startswith("valid")]
        assert len(valid) == 2 and {row.value for row in valid} == {1.0}
        assert {row.value for row in rows_of(result, method=method) if row not in valid} == {0.0}
    steps = [row.condition["steps ahead"] for row in rows_of(result, method="mean", metric="mse")]
    assert steps == [1, 2, 3, 4, 5]
    assert rows_of(result, method="hold-last", metric="wrong_pixels")[0].value > 0
    with pytest.raises(UserError, match=r"within the 8 steps .* got context 3 and horizon 6"):
        Forecast(context=3, horizon=6).run(Oracle(), dataset)


def test_generate(dataset):
    result = Generate(steps=20, context=3, batch_size=30).run(Oracle(), dataset)
    for method in ("stochastic", "deterministic", "data"):
        assert {row.value for row in rows_of(result, method=method, metric="nearest_wrong_pixels")} == {0.0}
    blank = rows_of(result, method="blank", metric="nearest_wrong_pixels")
    assert [row.value for row in blank] == [pytest.approx(1 / 64)] * 4
    assert rows_of(result, method="hold-last", metric="frame_change_gap")[0].value == pytest.approx(2 / 64)
    assert result.examples["video/stochastic"].shape == (6, 23, 1, 8, 8)


def test_a_model_without_the_capability(dataset):
    with pytest.raises(UserError, match="task impute: object does not have the capability Imputes"):
        Impute().run(object(), dataset)
    with pytest.raises(UserError, match="fewer than the 8 steps"):
        Impute(observe_first=8).run(Oracle(), dataset)
    with pytest.raises(UserError, match="probabilities in"):
        Impute(random_p=(1.5,))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_baselines_equal_a_plain_loop(seed, p):
    g = torch.Generator().manual_seed(seed)
    video, mask = torch.rand(2, 7, 1, 2, 2, generator=g), torch.rand(2, 7, generator=g) > p
    mask[:, seed % 7] = True
    held, between = hold_last(video, mask), interpolate(video, mask)
    hidden = torch.where(mask[..., None, None, None], video, torch.nan)
    assert torch.equal(held, hold_last(hidden, mask)) and torch.equal(between, interpolate(hidden, mask))
    for i in range(2):
        seen = mask[i].nonzero().flatten().tolist()
        for t in range(7):
            before, after = [s for s in seen if s <= t], [s for s in seen if s >= t]
            assert torch.equal(held[i, t], video[i, before[-1] if before else after[0]])
            if before and after and before[-1] < after[0]:
                share = (t - before[-1]) / (after[0] - before[-1])
                torch.testing.assert_close(
                    between[i, t], (1 - share) * video[i, before[-1]] + share * video[i, after[0]]
                )
            elif not after:
                assert torch.equal(between[i, t], video[i, before[-1]])


def test_masks():
    mask = random_mask(2000, 10, 0.3, observe_first=2, seed=1)
    assert mask[:, :2].all()
    assert mask[:, 2:].float().mean() == pytest.approx(0.7, abs=0.02)
    harder = random_mask(2000, 10, 0.6, observe_first=2, seed=1)
    assert (mask | ~harder).all()  # nested
    assert not random_mask(5, 10, 1.0, observe_first=0).any()
    block = block_mask(3, 10, 4, observe_first=3)
    assert block[0].tolist() == [True] * 3 + [False] * 4 + [True] * 3


def test_metrics_equal_their_definitions():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, 4, 4, generator=g), torch.rand(2, 3, 1, 4, 4, generator=g)
    numpy_a, numpy_b = a.numpy(), b.numpy()
    assert wrong_pixels(a, b).numpy() == pytest.approx(((numpy_a > 0.5) != (numpy_b > 0.5)).mean((2, 3, 4)))
    assert squared_error(a, b).numpy() == pytest.approx(((numpy_a - numpy_b) ** 2).mean((2, 3, 4)))
    assert frame_change(a).numpy() == pytest.approx(np.abs(np.diff(numpy_a, axis=1)).mean((2, 3, 4)))
    frames, real = a.flatten(0, 1), b.flatten(0, 1)
    by_hand = [min(wrong_pixels(f[None, None], r[None, None]).item() for r in real) for f in frames]
    assert nearest_wrong_pixels(frames, real).tolist() == pytest.approx(by_hand, abs=1e-6)


def test_ratio_estimate():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    mean, error, n = ratio_estimate(3 * values, torch.full((50,), 3.0))
    assert mean == pytest.approx(values.mean().item())
    assert error == pytest.approx(values.std().item() / 50**0.5, rel=1e-5)
    assert n == 50
    counts = torch.tensor([1.0, 0.0, 3.0])
    assert ratio_estimate(torch.tensor([1.0, 0.0, 0.0]), counts)[0] == 0.25
    assert ratio_estimate(torch.tensor([1.0, 0.0, 0.0]), counts)[2] == 2
    # The error is honest: it matches the spread over repeated draws.
    g = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(400):
        n_i = torch.randint(1, 6, (40,), generator=g).float()
        draws.append(ratio_estimate(torch.binomial(n_i, torch.full((40,), 0.3), generator=g), n_i)[:2])
    means, errors = np.array(draws).T
    assert errors.mean() == pytest.approx(means.std(), rel=0.15)


def test_background_is_the_median_training_frame(dataset):
    assert torch.equal(background(dataset), torch.zeros(1, 8, 8))
