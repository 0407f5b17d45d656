"""Video forecasting: what is chosen, what is averaged, what is recorded, and how little is held."""

import hashlib
import json
import math
import warnings

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, write_arrays
from dynarium.errors import UserError
from dynarium.metrics.image_quality import psnr, ssim
from dynarium.metrics.probabilistic import crps
from dynarium.nn.frame_layers import FrameLayer
from dynarium.nn.perceptual import CHANNELS, alexnet_features
from dynarium.tasks import TASKS, forecast_video
from dynarium.tasks.forecast_video import ForecastVideo
from dynarium.training import RunDirectory

SIDE, STEPS, CONTEXT, N = 16, 14, 4, 9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where, g = tmp_path_factory.mktemp("data") / "films", np.random.default_rng(0)

    def films(n):
        video = np.zeros((n, STEPS, 1, SIDE, SIDE), np.uint8)
        for i, (x, v) in enumerate(zip(g.integers(12, size=n), g.integers(1, 4, size=n), strict=True)):
            for t in range(STEPS):
                column = (x + v * t) % 12
                video[i, t, 0, 5:9, column : column + 4] = 200
        return {"video": video}

    write_arrays(where, {"train": films(12), "test": films(7)})
    return Dataset(where)


class Noisy:
    """Knows nothing but the mean grey, and adds as much noise as it is told, of its own generator's."""

    def __init__(self, spread=0.2):
        self.spread, self.sizes, self.drawn = spread, [], []

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        self.sizes.append(samples)
        frame = context.video.shape[2:]
        noise = torch.randn(samples, len(context.video), horizon, *frame, generator=generator)
        self.drawn.append((0.2 + self.spread * noise).clamp(-0.1, 1.2))
        return self.drawn[-1]

    def reconstruct(self, batch):
        return batch.video / 255 * 0.9


def rows_of(result):
    return {(r.method, r.metric, r.condition.get("against", r.condition.get("steps ahead"))): r for r in result.rows}


def test_each_metric_chooses_its_own_sample_and_only_by_its_average(dataset):
    model = Noisy()
    task = ForecastVideo(context=CONTEXT, horizon=6, samples=N, batch_size=7, metrics=("ssim", "psnr", "mse"))
    result = task.run(model, dataset)
    rows, samples = rows_of(result), model.drawn[0].clamp(0, 1)
    truth = dataset.batch("test", range(7)).video[:, CONTEXT : CONTEXT + 6] / 255
    for name, values in (("psnr", psnr(samples, truth)), ("ssim", ssim(samples, truth))):
        best = values.mean(2).argmax(0)
        curve = values[best, torch.arange(7)].mean(0)
        for step in range(6):
            assert rows["best-of-N", name, step + 1].value == pytest.approx(float(curve[step]), rel=1e-5)
        assert rows["best-of-N", f"{name}_mean", None].value == pytest.approx(float(values.mean(2).amax(0).mean()))
        assert rows["worst", f"{name}_mean", None].value == pytest.approx(float(values.mean(2).amin(0).mean()))
        assert rows["mean", f"{name}_mean", None].value == pytest.approx(float(values.mean()))
        wanted = float(values.mean((0, 2)).std() / 7**0.5)
        assert rows["mean", f"{name}_mean", None].standard_error == pytest.approx(wanted, rel=1e-4)
        low, high = (rows["mean", f"{name}_mean_{end}", None].value for end in ("low", "high"))
        assert (high - low, high + low) == pytest.approx((3.92 * wanted, 2 * float(values.mean())), rel=1e-4)
    assert rows["best-of-N", "mse_mean", None].value < rows["mean", "mse_mean", None].value
    assert rows["worst", "mse_mean", None].value > rows["mean", "mse_mean", None].value
    score, spread = crps(samples, truth)
    assert rows["ensemble", "crps_mean", None].value == pytest.approx(float(score.mean()), rel=1e-4)
    assert rows["ensemble", "diversity_mean", None].value == pytest.approx(float(spread.mean()), rel=1e-4)
    black = rows["black", "crps_mean", None]
    assert black.baseline and black.value == pytest.approx(float(truth.mean()), rel=1e-5)
    skill = rows["ensemble", "crps_skill", "black"].value
    assert skill == pytest.approx(1 - float(score.mean() / truth.mean()), rel=1e-4)
    assert rows["posterior", "psnr_mean", None].value > rows["best-of-N", "psnr_mean", None].value
    assert {r.condition["samples"] for r in result.rows} == {N}
    best = ssim(samples, truth).mean(2).argmax(0)
    assert torch.equal(result.examples["video/best"][:, CONTEXT:], samples[best, torch.arange(7)][:6])
    assert torch.equal(result.examples["video/sample-3"][:, CONTEXT:], samples[2, :6])
    assert torch.equal(result.examples["video/truth"][:, CONTEXT:], truth[:6])
    assert result.examples["video/worst"].shape == (6, CONTEXT + 6, 1, SIDE, SIDE)


def test_many_samples_are_drawn_in_parts_and_none_is_kept(dataset, monkeypatch):
    monkeypatch.setattr(forecast_video, "BYTES_AT_ONCE", 4 * 7 * 10 * SIDE * SIDE * 4)  # four samples
    model = Noisy()
    result = ForecastVideo(context=CONTEXT, samples=N, batch_size=7, metrics=("psnr",)).run(model, dataset)
    assert model.sizes == [3, 3, 3]
    samples = torch.cat(model.drawn).clamp(0, 1)
    truth = dataset.batch("test", range(7)).video[:, CONTEXT:] / 255
    values = psnr(samples, truth)
    rows = rows_of(result)
    assert rows["best-of-N", "psnr_mean", None].value == pytest.approx(float(values.mean(2).amax(0).mean()))
    parts = torch.stack([crps(part.clamp(0, 1), truth)[0] for part in model.drawn]).mean()
    assert rows["ensemble", "crps_mean", None].value == pytest.approx(float(parts), rel=1e-4)
    for name, index in (("best", values.mean(2).argmax(0)), ("worst", values.mean(2).argmin(0))):
        assert torch.equal(result.examples[f"video/{name}"][:, CONTEXT:], samples[index, torch.arange(7)][:6])


def test_a_model_that_knows_one_future_is_asked_for_one(dataset):
    model = Noisy(0.0)
    result = ForecastVideo(context=CONTEXT, samples=50, batch_size=2).run(model, dataset)
    assert model.sizes == [50, 1, 1]
    rows = rows_of(result)
    assert {r.condition["samples"] for r in result.rows} == {1} == {result.protocol["samples"]}
    assert result.protocol["samples_asked_for"] == 50
    for metric in ("psnr_mean", "ssim_svg_mean"):
        assert rows["best-of-N", metric, None].value == rows["worst", metric, None].value
    truth = dataset.batch("test", range(7)).video[:, CONTEXT:] / 255
    assert rows["ensemble", "crps_mean", None].value == pytest.approx(float((truth - 0.2).abs().mean()), rel=1e-5)
    assert rows["ensemble", "diversity_mean", None].value == 0
    last = dataset.batch("test", range(7)).video[:, CONTEXT - 1 : CONTEXT] / 255
    copied = float(psnr(last.expand_as(truth), truth).mean())
    assert rows["copy-last", "psnr_mean", None].value == pytest.approx(copied, rel=1e-5)
    mean = dataset.batch("train", range(12)).video.double().mean((0, 1)).float() / 255
    assert rows["mean-image", "crps_mean", None].value == pytest.approx(float((truth - mean).abs().mean()), rel=1e-4)


def test_distances_of_videos_and_the_protocol(dataset, tmp_path):
    task = ForecastVideo(context=CONTEXT, samples=2, metrics=("ssim_finn", "ssim_svg"), precision="float32", shown=0)
    result = task.run(Noisy(), dataset)
    rows = rows_of(result)
    distance = {m: rows[m, "frechet_random_features", None].value for m in ("sample", "posterior", "data", "black")}
    assert distance["posterior"] < distance["data"] < distance["sample"]
    assert all(math.isfinite(value) for value in distance.values())
    file = RunDirectory(tmp_path).write_result(result, dataset="films", split="test", checkpoint="best")
    protocol = json.loads(file.read_text())["protocol"]
    assert protocol["dataset"]["content_hash"] == dataset.schema.content_hash
    assert protocol["metrics"]["ssim_svg"]["range"] == 2.0 and protocol["metrics"]["ssim_finn"]["variant"] == "finn"
    assert (protocol["context"], protocol["horizon"], protocol["samples"], protocol["clips"]) == (4, 10, 2, 7)
    assert protocol["precision"] == "float32" and protocol["split"] == "test"


def test_steps_that_are_missing_are_not_scored(dataset, tmp_path):
    video = dataset.read("test", range(7), fields=["video"])["video"]
    length = np.array([STEPS, STEPS, CONTEXT + 2, STEPS, CONTEXT, STEPS, STEPS])
    for i, n in enumerate(length):
        video[i, n:] = 77
    write_arrays(tmp_path / "short", {"test": {"video": video, "length": length[:, None]}})
    result = ForecastVideo(context=CONTEXT, samples=3, metrics=("psnr",)).run(Noisy(), Dataset(tmp_path / "short"))
    rows = rows_of(result)
    assert rows["best-of-N", "psnr", 2].n == 6 and rows["best-of-N", "psnr", 3].n == 5
    assert rows["sample", "frechet_random_features", None].n == 5


class Normed(torch.nn.Module):
    """Holds the last frame, normalised."""

    def __init__(self, statistics="running"):
        super().__init__()
        torch.manual_seed(0)
        self.layer = FrameLayer(1, 1, 1, slope=1.0, statistics=statistics)
        self.eval()

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        frame = self.layer(context.video[:, -1].float() / 255, (0,)).sigmoid()
        return frame[None, :, None].expand(samples, -1, horizon, -1, -1, -1)


def test_statistics_of_batch_normalisation(dataset):
    def asked(model, statistics=None):
        result = ForecastVideo(context=CONTEXT, samples=2, statistics=statistics, metrics=("mse",)).run(model, dataset)
        return rows_of(result)["mean", "mse_mean", None].value, result.protocol["batch_normalisation"], result.task

    running, batch = asked(Normed()), asked(Normed("batch"))
    assert running[1:] == ("running", "forecast-video") and batch[1:] == ("batch", "forecast-video")
    assert abs(running[0] - batch[0]) > 0.01
    model = Normed()
    assert asked(model, "batch") == (batch[0], "batch", "forecast-video-batch")
    assert model.layer.norm is not None and model.layer.norm.statistics == "running", "the model is left as it was"
    assert asked(Normed("batch"), "running") == (running[0], "running", "forecast-video-running")
    with pytest.raises(UserError, match="statistics: Noisy has no batch normalisation, so none is wanted, got batch"):
        asked(Noisy(), "batch")


class Extremes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.amax((2, 3, 4)), x.mean((2, 3, 4))], 1)


def test_networks_that_a_user_brings(tmp_path):
    video = np.random.default_rng(0).integers(0, 255, (4, 10, 1, 32, 32), dtype=np.uint8)
    write_arrays(tmp_path / "d", {"test": {"video": video}})
    weights = {f"features.{key}": value for key, value in alexnet_features().state_dict().items()}
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(CHANNELS["alex"])}
    torch.save(weights, tmp_path / "alex.pth")
    torch.save(heads, tmp_path / "heads.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Extremes()), tmp_path / "i3d.pt")
    files = {"lpips_backbone": "alex.pth", "lpips_heads": "heads.pth", "fvd_network": "i3d.pt"}
    task = ForecastVideo(
        context=7, samples=3, metrics=("lpips",), **{key: str(tmp_path / name) for key, name in files.items()}
    )
    result = task.run(Noisy(), Dataset(tmp_path / "d"))
    rows = rows_of(result)
    assert 0 < rows["best-of-N", "lpips_mean", None].value < rows["worst", "lpips_mean", None].value
    assert rows["sample", "fvd", None].value > rows["posterior", "fvd", None].value >= 0
    for key, name in files.items():
        assert result.protocol["weights"][key] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert result.protocol["metrics"]["lpips"]["network"] == "alex"


class Warm(Noisy):
    def forecast(self, context, horizon, *, action=None, samples=1, generator=None, temperature=1.0):
        self.spread = temperature
        return super().forecast(context, horizon, samples=samples, generator=generator)


def test_bad_questions_are_refused(dataset):
    assert TASKS["forecast-video"] is ForecastVideo
    assert [ForecastVideo(horizon=steps).name for steps in (None, 20)] == ["forecast-video", "forecast-video-20"]
    for options, message in (
        ({"samples": 0}, "forecast-video.samples: expected at least 1, got 0"),
        ({"horizon": 0}, "forecast-video.horizon: expected at least 1, got 0"),
        ({"temperature": -1.0}, "forecast-video.temperature: expected a number of at least 0"),
        ({"metrics": ()}, "forecast-video.metrics: expected at least one"),
    ):
        with pytest.raises(UserError, match=message):
            ForecastVideo(**options)
    for options, message in (
        ({"context": 14}, "within the 14 steps"),
        ({"context": 5, "horizon": 10}, "within the 14 steps"),
        ({"temperature": 0.5}, "temperature: Noisy has none"),
        ({"metrics": ("lpips",)}, "lpips_backbone: the metric lpips needs this file of weights, got none"),
        ({"fvd_network": "nowhere.pt"}, "fvd_network: expected a file, got 'nowhere.pt'"),
    ):
        with pytest.raises(UserError, match=message):
            ForecastVideo(**options).run(Noisy(), dataset)
    with pytest.raises(UserError, match="does not have the capability Forecasts"):
        ForecastVideo().run(object(), dataset)
    cold = ForecastVideo(context=CONTEXT, samples=3, temperature=0.0, metrics=("mse",)).run(Warm(), dataset)
    assert rows_of(cold)["ensemble", "diversity_mean", None].value == 0
