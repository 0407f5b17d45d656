"""Video prediction as the literature asks it: many futures of every sequence, the best of them, and what they are worth."""

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.estimate import ratio_estimate
from dynarium.metrics.frechet import frechet_distance
from dynarium.models.capabilities import Forecasts, Reconstructs
from dynarium.nn.perceptual import Network, load_lpips
from dynarium.nn.video_features import I3D, RandomVideoFeatures
from dynarium.nn.weight_files import file_hash
from dynarium.tasks.baselines import background, hold_last, mean_image, where_any
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.tasks.video_scores import HIGHER, Metric, Scorer, chosen, ensemble_scores, found_in
from dynarium.types import Result, Row, SequenceBatch

BYTES_AT_ONCE = 1 << 28
"""Size of the forecasts that are held at a time; more samples are drawn and scored in several parts."""
SHOWN_SAMPLES = 3

Features = dict[str, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, kw_only=True)
class ForecastVideo:
    """Samples of the future, scored frame by frame and by what they say together.

    Rows: ``best-of-N``, for each sequence the sample that is best by the metric's own average over the horizon, each metric
    choosing by itself (Denton & Fergus 2018; Franceschi et al. 2020); ``mean``, the expected score of a sample; ``worst``;
    ``posterior``, frames reconstructed with a look at them, where the model does that; and the trivial ``black``,
    ``copy-last`` and ``mean-image`` (of the training split). Every metric has a row for every step ahead and, as
    ``<metric>_mean``, one over the horizon. The best of N looks at the answer, and grows with N; so there are also

    - ``ensemble`` rows: ``crps``, the continuous ranked probability score of a pixel given all samples (of a trivial
      answer the absolute error), ``crps_skill``, the share of a trivial answer's CRPS that is saved, and ``diversity``, the mean
      absolute difference of a pixel between two samples;
    - ``frechet_random_features`` and, with a network for it, ``fvd``: the Frechet distance between whole videos, context
      included, forecast once for each sequence (``sample``), and the true ones. ``data`` is what as many training sequences
      score. The first is no FVD: see ``nn/video_features.py``.

    A model whose samples are all equal is asked for one, and its rows say ``samples`` 1. SSIM, PSNR and the rest are
    defined in ``metrics/image_quality.py``; they see frames in [0, 1] that are not rounded to bytes. ``Result.protocol``
    records how the numbers were made.

    Attributes:
        context: First frames that are given.
        horizon: Frames to forecast; ``None``: all the rest.
        samples: Futures drawn of each sequence: N.
        metrics: What is measured of every frame; the first one chooses the pictures.
        temperature: Factor of the standard deviation of the forecast's latents; 1 is the model.
        precision: Of the forecasts. ``auto``: bfloat16 autocast where the processor computes in it, else float32.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        lpips_network: Network of ``lpips``.
        lpips_backbone: Its weights: a file with the state dict of torchvision's network.
        lpips_heads: Its linear heads: a file of the package lpips.
        fvd_network: A TorchScript file of I3D; ``None``: no ``fvd``.
        shown: Sequences kept for pictures.
        seed: Seed of the samples.
    """

    context: int = 5
    horizon: int | None = None
    samples: int = 100
    metrics: tuple[Metric, ...] = ("psnr", "ssim", "ssim_svg")
    temperature: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 16
    lpips_network: Network = "alex"
    lpips_backbone: str | None = None
    lpips_heads: str | None = None
    fvd_network: str | None = None
    shown: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("context", "samples", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"forecast-video.{name}: expected at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"forecast-video.temperature: expected a number of at least 0, got {self.temperature}")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise UserError(f"forecast-video.metrics: expected at least one, none twice, got {self.metrics}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "forecast-video"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Draw, score, choose.

        Raises:
            UserError: The model cannot forecast (or not at this temperature), the sequences are too short, or a file of
                weights is missing or holds something else.
        """
        need(model, Forecasts, self.name)
        horizon = dataset.steps - self.context if self.horizon is None else self.horizon
        if horizon < 1 or self.context + horizon > dataset.steps:
            raise UserError(
                f"forecast-video: expected a context and at least one frame after it within the {dataset.steps} steps of "
                f"{dataset.directory}, got context {self.context} and horizon {self.horizon or 'all that follow'}"
            )
        if self.temperature != 1 and "temperature" not in inspect.signature(model.forecast).parameters:
            raise UserError(f"forecast-video.temperature: {type(model).__name__} has none, so 1 is wanted")
        device = device_of(model)
        scorer = Scorer(self.metrics, self._lpips(device))
        features, weights = self._features(dataset, device)
        trivial = {"black": torch.zeros(()), "mean-image": mean_image(dataset).to(device)}
        blank = background(dataset).to(device)
        session = _Session(
            task=self,
            model=model,
            horizon=horizon,
            scorer=scorer,
            features=features,
            blank=blank,
            trivial=trivial,
            precision=self._precision(device),
            generator=torch.Generator(device).manual_seed(self.seed),
        )
        clips = 0
        for batch in evaluation_batches(dataset, self.split, self.sequences, self.batch_size):
            session.ask(batch.to(device))
            clips += len(batch)
        session.compare_data(dataset, clips)
        protocol = {
            "context": self.context,
            "horizon": horizon,
            "samples": session.samples,
            "samples_asked_for": self.samples,
            "selection": "per sequence, by each metric's own mean over the horizon",
            "temperature": self.temperature,
            "precision": session.precision,
            "frames": "float32 in [0, 1], clamped, not rounded to bytes",
            "metrics": scorer.record(),
            "crps": "fair estimator, per pixel",
            "frechet": "one sample a sequence against the same true sequences, context frames in both",
            "clips": clips,
            "split": self.split,
            "dataset": {
                "name": dataset.directory.name,
                "content_hash": dataset.schema.content_hash,
                "glyphs": found_in(dataset.schema.generator, "glyphs"),
            },
            "weights": weights,
            "seed": self.seed,
        }
        return Result(task=self.name, rows=session.rows(), examples=session.examples, protocol=protocol)

    def _precision(self, device: torch.device) -> str:
        if self.precision != "auto":
            return self.precision
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            fast = device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)
        return "bfloat16" if fast else "float32"

    def _lpips(self, device: torch.device) -> Any:
        if "lpips" not in self.metrics:
            return None
        if self.lpips_backbone is None or self.lpips_heads is None:
            missing = "lpips_backbone" if self.lpips_backbone is None else "lpips_heads"
            raise UserError(f"forecast-video.{missing}: the metric lpips needs this file of weights, got none")
        return load_lpips(self.lpips_network, self.lpips_backbone, self.lpips_heads).to(device)

    def _features(self, dataset: Dataset, device: torch.device) -> tuple[Features, dict[str, str]]:
        """Return the features that distances are taken of, and the hashes of all files of weights."""
        channels = dataset.shapes.get("video", (0, 1))[1]
        features: Features = {"frechet_random_features": RandomVideoFeatures(channels).to(device)}
        hashes = {}
        if self.fvd_network is not None:
            i3d = I3D(self.fvd_network, device)
            features["fvd"], hashes["fvd_network"] = i3d, i3d.hash
        for name in ("lpips_backbone", "lpips_heads") if "lpips" in self.metrics else ():
            hashes[name] = file_hash(getattr(self, name), name)
        return features, hashes


@dataclass(kw_only=True)
class _Session:
    """What is gathered while the batches go by."""

    task: ForecastVideo
    model: Any
    horizon: int
    scorer: Scorer
    features: Features
    blank: Tensor
    trivial: dict[str, Tensor]
    precision: str
    generator: torch.Generator
    samples: int = 0
    tally: Tally = field(default_factory=Tally)
    vectors: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    crps: dict[str, list[Tensor]] = field(default_factory=dict)
    extra: list[Row] = field(default_factory=list)
    examples: dict[str, Tensor] = field(default_factory=dict)

    def ask(self, batch: SequenceBatch) -> None:
        """Draw the futures of a batch and score them."""
        end = self.task.context + self.horizon
        batch = cut(batch, end)[0]
        given, rest = cut(batch, self.task.context)
        video, known = frames_of(batch), known_steps(batch)
        before, truth = video[:, : self.task.context], video[:, self.task.context :]
        seen, scored = known[:, : self.task.context], known[:, self.task.context :].cpu()
        whole = known.all(1)
        first = not self.samples
        shown = self.task.shown if first else 0

        drawn = self._draw(given, rest.action, truth, scored, shown)
        condition = {"samples": self.samples}
        for metric, scores in drawn.scores.items():
            best, worst = chosen(scores, scored, metric in HIGHER)
            each = torch.arange(scores.shape[1])
            for method, values in (
                ("best-of-N", scores[best, each]),
                ("mean", scores.mean(0)),
                ("worst", scores[worst, each]),
            ):
                self._add(method, metric, values, scored, condition)
        self._add("ensemble", "crps", drawn.crps, scored, condition)
        self._add("ensemble", "diversity", drawn.spread, scored, condition)
        self.crps.setdefault("ensemble", []).append(torch.where(scored, drawn.crps, 0.0).sum(1))
        self._keep_features("sample", torch.cat([before, drawn.first[0]], 1)[whole])

        answers: dict[str, Tensor] = {}
        if isinstance(self.model, Reconstructs):
            with self._autocast(truth.device):
                frames = self.model.reconstruct(batch)
            answers["posterior"] = frames[:, self.task.context :].float().clamp(0, 1)
        last = where_any(seen, hold_last(before.cpu(), seen.cpu())[:, -1:].to(before), self.blank)
        trivial = {name: frame.expand_as(truth) for name, frame in self.trivial.items()}
        trivial = {"black": trivial["black"], "copy-last": last.expand_as(truth), "mean-image": trivial["mean-image"]}
        for method, frames in (answers | trivial).items():
            for metric, scores in self.scorer(frames[None], truth).items():
                self._add(method, metric, scores[0], scored, condition, baseline=method in trivial)
            self._keep_features(method, torch.cat([before, frames], 1)[whole])
            if method in trivial:
                error = (frames - truth).abs().mean((2, 3, 4)).cpu()
                self._add(method, "crps", error, scored, condition, baseline=True)
                self.crps.setdefault(method, []).append(torch.where(scored, error, 0.0).sum(1))
        self._keep_features("truth", video[whole])

        if first:
            films = {"truth": truth, **answers, "best": drawn.best, "worst": drawn.worst}
            films |= {f"sample-{i + 1}": sample for i, sample in enumerate(drawn.first)}
            n = min(shown, len(truth))
            self.examples = {f"video/{k}": torch.cat([before[:n], x[:n]], 1).cpu() for k, x in films.items()}
            self.examples["context"] = torch.tensor(self.task.context)

    def _draw(
        self, given: SequenceBatch, action: Tensor | None, truth: Tensor, scored: Tensor, shown: int
    ) -> "_Drawn":
        """Draw all samples of a batch, part by part, and keep of each part no more than its scores."""
        options: dict[str, Any] = {} if self.task.temperature == 1 else {"temperature": self.task.temperature}
        wanted = self.samples or self.task.samples
        most = max(1, BYTES_AT_ONCE // (4 * truth.numel()))
        parts = -(-wanted // most)
        sizes = [wanted // parts + (k < wanted % parts) for k in range(parts)]
        scores: list[dict[Metric, Tensor]] = []
        score, spread = (torch.zeros(truth.shape[:2]) for _ in range(2))
        kept: list[Tensor] = []
        best = worst = truth[:shown]
        extremes = torch.full((2, len(best)), -torch.inf)
        leading: Metric = self.task.metrics[0]
        for size in sizes:
            with self._autocast(truth.device):
                frames = self.model.forecast(
                    given, self.horizon, action=action, samples=size, generator=self.generator, **options
                )
            frames = frames.float()
            if not self.samples and all(torch.equal(frame, frames[0]) for frame in frames[1:]) and size > 1:
                self.samples, wanted, frames = 1, 1, frames[:1]  # the model knows one future only
            frames = frames if bool(((frames >= 0) & (frames <= 1)).all()) else frames.clamp(0, 1)
            scores.append(self.scorer(frames, truth))
            part_score, part_spread = ensemble_scores(frames, truth)
            share = len(frames) / wanted
            score, spread = score + share * part_score, spread + share * part_spread
            kept += [frame.clone() for frame in frames[: SHOWN_SAMPLES - len(kept)]]
            if shown:
                found = scores[-1][leading][:, :shown]
                for row, index in enumerate(chosen(found, scored[:shown], leading in HIGHER)):
                    each = torch.arange(len(index))
                    merit = torch.where(scored[:shown], found[index, each], 0.0).sum(1)
                    merit = merit if (leading in HIGHER) == (row == 0) else -merit
                    better = (merit > extremes[row]).to(truth.device)[:, None, None, None, None]
                    extremes[row] = torch.maximum(extremes[row], merit)
                    picked = frames[index.to(truth.device), each.to(truth.device)]
                    best, worst = (
                        (torch.where(better, picked, best), worst)
                        if row == 0
                        else (best, torch.where(better, picked, worst))
                    )
            del frames
            if wanted == 1:
                break
        self.samples = wanted
        joined = {metric: torch.cat([part[metric] for part in scores]) for metric in self.task.metrics}
        return _Drawn(joined, score, spread, kept, best, worst)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _add(
        self, method: str, metric: str, values: Tensor, scored: Tensor, condition: dict[str, Any], baseline: bool = False
    ) -> None:
        for step in range(self.horizon):
            one = slice(step, step + 1)
            setting = {"steps ahead": step + 1, **condition}
            self.tally.add(method, metric, setting, values[:, one], scored[:, one], baseline=baseline)
        setting = {"horizon": self.horizon, **condition}
        self.tally.add(method, f"{metric}_mean", setting, values, scored, baseline=baseline)

    def _keep_features(self, method: str, videos: Tensor) -> None:
        for metric, feature in self.features.items():
            for video in videos.split(8):
                self.vectors.setdefault((metric, method), []).append(feature(video).cpu())

    def compare_data(self, dataset: Dataset, clips: int) -> None:
        """Keep the features of as many training sequences: what others of the same kind score."""
        if "train" not in dataset.schema.splits or self.task.split == "train":
            return
        end, n = self.task.context + self.horizon, min(clips, dataset.size("train"))
        for k in range(0, n, self.task.batch_size):
            batch = dataset.batch("train", range(k, min(k + self.task.batch_size, n)), 0, end)
            self._keep_features("data", frames_of(batch)[known_steps(batch).all(1)].to(self.blank.device))

    def rows(self) -> tuple[Row, ...]:
        """Return all rows."""
        condition: dict[str, Any] = {"horizon": self.horizon, "samples": self.samples}
        rows = list(self.tally.rows())
        ours = torch.cat(self.crps["ensemble"])
        for method in self.trivial | {"copy-last": self.blank}:
            theirs = torch.cat(self.crps[method])
            ratio, error, n = ratio_estimate(ours, theirs)
            rows.append(
                Row(
                    method="ensemble",
                    metric="crps_skill",
                    condition={"against": method, **condition},
                    value=1 - ratio,
                    standard_error=error,
                    n=n,
                )
            )
        for (metric, method), parts in self.vectors.items():
            found, true = torch.cat(parts), torch.cat(self.vectors[metric, "truth"])
            if method == "truth" or min(len(found), len(true)) < 2:
                continue
            rows.append(
                Row(
                    method=method,
                    metric=metric,
                    condition={**condition, "videos": len(true)},
                    value=frechet_distance(found, true),
                    standard_error=math.nan,
                    n=len(found),
                    baseline=method in ("black", "copy-last", "mean-image"),
                )
            )
        return tuple(rows)


@dataclass(frozen=True)
class _Drawn:
    """What is kept of the samples of a batch."""

    scores: dict[Metric, Float[Tensor, "s b t"]]
    crps: Float[Tensor, "b t"]
    spread: Float[Tensor, "b t"]
    first: list[Tensor]
    best: Tensor
    worst: Tensor
