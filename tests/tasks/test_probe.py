"""Probes: a linear map is found, noise is not, nothing leaks from the split that is scored, unknown steps do not count."""

import math

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, write_arrays
from dynarium.errors import UserError
from dynarium.tasks.probe import Probe
from dynarium.tasks.regressors import linear_regressor, mlp_regressor


class Encoder:
    """Gives functions of the state as representations; keeps how often it was asked."""

    def __init__(self):
        self.mix = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))

    def encode(self, batch):
        x = batch.state.float()
        g = torch.Generator().manual_seed(int(x.abs().sum() * 1000) % 2**31)
        known = batch.observed()
        return {
            "linear": x @ self.mix + 3,
            "noise": torch.randn(*x.shape[:2], 4, generator=g),
            "cubic": x**3,
            "gap": x if known is None else x.masked_fill(~known[..., None], torch.nan),
            "broken": x / 0,
        }


def arrays(n, seed, t=6, **more):
    g = np.random.default_rng(seed)
    state = g.normal(size=(n, 1, 3)) + 0.3 * g.normal(size=(n, t, 3)).cumsum(1)
    state[..., 2] = 4.0
    video = np.zeros((n, t, 1, 8, 8), np.uint8)
    # The brightness of one pixel is the first number: the frames know it, and not the second.
    video[..., 0, 2, 5] = np.clip(128 + 30 * state[..., 0], 0, 255)
    return {"video": video, "state": state} | more


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where = tmp_path_factory.mktemp("data") / "d"
    write_arrays(where, {"train": arrays(300, 0), "val": arrays(60, 1), "test": arrays(200, 2)})
    return Dataset(where)


def table(result):
    return {(r.method, r.metric, r.condition.get("dimension")): r for r in result.rows}


def test_a_linear_map_is_found_and_noise_is_not(dataset):
    result = Probe().run(Encoder(), dataset)
    rows = table(result)
    assert result.task == "probe" and {r.baseline for r in result.rows if r.method in ("mean", "pixels-linear")} == {
        True
    }
    for k in (0, 1):
        linear, network = rows["linear-linear", "r2", k], rows["linear-mlp", "r2", k]
        assert linear.value == pytest.approx(1.0, abs=2e-3) and linear.n == 200 and not linear.baseline
        assert network.value > 0.95
        assert rows["mean", "r2", k].value == pytest.approx(0.0, abs=0.03) and rows["mean", "r2", k].value <= 0
    assert rows["pixels-linear", "r2", 0].value > 0.98  # but for rounding and clipping
    assert abs(rows["pixels-linear", "r2", 1].value) < 0.05
    # The third dimension is constant: it has no R2, and no part in the means.
    assert math.isnan(rows["linear-linear", "r2", 2].value) and rows["linear-linear", "r2", 2].n == 0
    mean = rows["linear-linear", "r2_uniform", None]
    assert mean.condition == {"dimensions": 2} and mean.value == pytest.approx(1.0, abs=2e-3)
    noise = table(Probe(representation="noise").run(Encoder(), dataset))
    for probe in ("linear", "mlp"):
        for metric in ("r2_uniform", "r2_variance_weighted"):
            assert abs(noise[f"noise-{probe}", metric, None].value) < 0.05


def test_what_is_not_linear_needs_the_network(dataset):
    rows = table(Probe(representation="cubic").run(Encoder(), dataset))
    assert rows["cubic-mlp", "r2_uniform", None].value > rows["cubic-linear", "r2_uniform", None].value + 0.05
    # The single coordinates are the state up to a monotone map.
    assert rows["cubic", "max_correlation", None].value == pytest.approx(1.0)
    assert rows["pixels", "max_correlation", None].value < 0.8


def test_the_rows_equal_their_definition(dataset):
    model, task = Encoder(), Probe(representation="noise", probes=("linear",), dims=(1, 0), sequences=50)
    rows = table(task.run(model, dataset))
    train, test = dataset.batch("train", range(300)), dataset.batch("test", range(50))
    features = []  # as the task asks: in batches of 128
    for batches in (torch.arange(300).split(128), torch.arange(50).split(128)):
        split = "train" if len(batches) > 1 else "test"
        features.append(torch.cat([model.encode(dataset.batch(split, i.numpy()))["noise"] for i in batches]))
    x, x_test = (f.flatten(0, 1).double() for f in features)
    y, y_test = (b.state.flatten(0, 1)[:, :2].double() for b in (train, test))
    z, z_test = ((v - x.mean(0)) / x.std(0, correction=0) for v in (x, x_test))
    weight = torch.linalg.solve(z.T @ z / len(z) + 1e-3 * torch.eye(4), z.T @ (y - y.mean(0)) / len(z))
    error = (y_test - z_test @ weight - y.mean(0)).square()
    deviation = (y_test - y_test.mean(0)).square()
    for k in (0, 1):
        wanted = 1 - error[:, k].sum() / deviation[:, k].sum()
        assert rows["noise-linear", "r2", k].value == pytest.approx(wanted.item(), abs=1e-6)
    weighted = 1 - error.sum() / deviation.sum()
    assert rows["noise-linear", "r2_variance_weighted", None].value == pytest.approx(weighted.item(), abs=1e-6)
    assert [r.condition["dimension"] for r in task.run(model, dataset).rows[:2]] == [1, 0]


def test_nothing_leaks_and_runs_repeat(dataset, tmp_path):
    """The fit is a function of the training and validation splits: what the test holds changes no prediction."""
    task = Probe(representation="noise", train_sequences=50, sequences=100)
    assert task.run(Encoder(), dataset).rows == task.run(Encoder(), dataset).rows
    torch.manual_seed(5)
    before = torch.get_rng_state()
    shifted = arrays(200, 2)
    shifted["state"] = shifted["state"] * 3 + np.array([7.0, 0, 0])
    write_arrays(tmp_path / "s", {"train": arrays(300, 0), "val": arrays(60, 1), "test": shifted})
    rows = table(task.run(Encoder(), Dataset(tmp_path / "s")))
    # Statistics of the test split would hide its shift.
    assert rows["mean", "r2", 0].value < -2 and rows["noise-linear", "r2", 0].value < -2
    assert torch.equal(before, torch.get_rng_state())


def test_a_window_sees_velocities(tmp_path):
    g = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 200), ("test", 100)):
        velocity = g.normal(size=(n, 1)) * np.ones(6)
        state = np.stack([g.normal(size=(n, 1)) + velocity * np.arange(6), velocity], -1)
        splits[split] = {"video": np.zeros((n, 6, 1, 4, 4), np.uint8), "state": state}
    write_arrays(tmp_path / "v", splits)

    class Position:
        def encode(self, batch):
            return {"position": batch.state[..., :1].float()}

    data = Dataset(tmp_path / "v")
    one, two = (table(Probe(window=w, probes=("linear",), ridge=0.0).run(Position(), data)) for w in (1, 2))
    assert one["position-linear", "r2", 1].value < 0.9 and two["position-linear", "r2", 1].value == pytest.approx(1.0)
    assert Probe(window=2, representation="position").name == "probe-position-window-2"
    assert two["pixels-linear", "r2_uniform", None].value <= 0  # black frames know nothing


@pytest.mark.parametrize("field", ["length", "mask"])
def test_unknown_steps_neither_fit_nor_count(tmp_path, field):
    g, rows = np.random.default_rng(0), []
    known = {}
    for split, n in (("train", 100), ("test", 50)):
        length = g.integers(2, 7, n)
        length[0] = 6
        known[split] = np.arange(6) < length[:, None] if field == "length" else g.random((n, 6)) > 0.3
        if field == "mask":
            known[split][0] = False  # nothing of this one is known
    for fill in (0.0, 1e6):
        splits = {}
        for k, (split, keep) in enumerate(known.items()):
            made = arrays(len(keep), k)
            made["state"] = np.where(keep[..., None], made["state"], fill)
            made[field] = keep.sum(1) if field == "length" else keep
            splits[split] = made
        write_arrays(tmp_path / f"{fill}", splits)
        rows.append(
            Probe(representation="gap", window=2, probes=("linear",)).run(Encoder(), Dataset(tmp_path / f"{fill}")).rows
        )
    for a, b in zip(*rows, strict=True):
        assert (a.method, a.metric, a.condition, a.n) == (b.method, b.metric, b.condition, b.n)
        assert a.value == pytest.approx(b.value, nan_ok=True) and (
            a.value > 0.9 or "gap-linear" not in a.method or a.n == 0
        )
    if field == "length":
        assert rows[0][0].n == 50


def test_bad_questions(dataset, tmp_path):
    with pytest.raises(UserError, match="task probe: object does not have the capability Encodes"):
        Probe().run(object(), dataset)
    with pytest.raises(UserError, match=r"representation: expected one of linear, noise, .* got 'nose'"):
        Probe(representation="nose").run(Encoder(), dataset)
    with pytest.raises(UserError, match="'broken' has values that are not finite"):
        Probe(representation="broken").run(Encoder(), dataset)
    with pytest.raises(UserError, match=r"another split than 'train'.* got 'train'"):
        Probe(split="train").run(Encoder(), dataset)
    with pytest.raises(UserError, match=r"dims: expected dimensions of the state, 0 to 2, got \(3,\)"):
        Probe(dims=(3,)).run(Encoder(), dataset)
    with pytest.raises(UserError, match="window: expected 1 to the 6 steps"):
        Probe(window=7).run(Encoder(), dataset)
    write_arrays(
        tmp_path / "w",
        {
            "train": {"video": np.zeros((4, 3, 1, 4, 4), np.uint8)},
            "test": {"video": np.zeros((4, 3, 1, 4, 4), np.uint8)},
        },
    )
    with pytest.raises(UserError, match="expected the field 'state'"):
        Probe().run(Encoder(), Dataset(tmp_path / "w"))


def test_regressors():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=g)
    x[:, 2], x[:, 3] = 1e3, x[:, 1] * 2  # a constant feature, and one that says nothing new
    y = x[:, :2] @ torch.randn(2, 2, generator=g) + 5
    for ridge in (0.0, 1e-6):
        torch.testing.assert_close(linear_regressor(x, y, ridge)(x), y.double(), atol=1e-3, rtol=0)
    assert linear_regressor(x, y)(x[:0]).shape == (0, 2)
    size = x[:, :1].abs()
    read, again, other = (mlp_regressor(x, size, x[:99], size[:99], seed=s, steps=300) for s in (3, 3, 4))
    assert (read(x) - size).square().mean() < 0.02
    assert torch.equal(read(x), again(x)) and not torch.equal(read(x), other(x))
