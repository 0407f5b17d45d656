"""Video prediction as the literature asks it: many futures of every sequence, the best of them, and what they are worth."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
from dynarium.nn.frame_layers import BatchStatistics, StepNorm
from dynarium.nn.perceptual import Network, load_lpips
from dynarium.nn.video_features import I3D, RandomVideoFeatures
from dynarium.nn.weight_files import file_hash
from dynarium.tasks.baselines import background, hold_last, mean_image, where_any
from dynarium.tasks.common import Tally, cut, data_record, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.tasks.video_scores import HIGHER, Extreme, Metric, Scorer, ensemble_scores, merits
from dynarium.types import Result, Row, SequenceBatch

BYTES_AT_ONCE = 1 << 28
"""Size of the forecasts that are held at a time; more samples are drawn and scored in several parts."""
SHOWN_SAMPLES = 3
TRIVIAL = ("black", "copy-last", "mean-image")

Features = dict[str, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, kw_only=True)
class ForecastVideo:
    """Samples of the future, scored frame by frame and by what they say together.

    Rows: ``best-of-N``, for each sequence the sample that is best by the metric's own average over the horizon, each metric
    choosing by itself (Denton & Fergus 2018; Franceschi et al. 2020); ``mean``, the expected score of a sample; ``worst``;
    ``posterior``, frames reconstructed with a look at them, where the model does that; and the trivial ``black``,
    ``copy-last`` and ``mean-image`` (of the training split). Every metric has a row for every step ahead and, as
    ``<metric>_mean``, one over the horizon, with ``_low`` and ``_high`` the bounds of its 95 % interval over sequences
    (1.96 standard errors). The best of N looks at the answer, and grows with N; so there are also

    - ``ensemble`` rows: ``crps``, the continuous ranked probability score of a pixel given all samples (of a trivial
      answer the absolute error), ``crps_skill``, the share of a trivial answer's CRPS that is saved, and ``diversity``,
      the mean absolute difference of a pixel between two samples;
    - ``frechet_random_features`` and, with a network for it, ``fvd``: the Frechet distance between whole videos, context
      included, forecast once for each sequence (``sample``), and the true ones. ``data`` is what as many training sequences
      score. The first is no FVD: see ``nn/video_features.py``.

    Asked with a horizon or other statistics, the question is named after them: ``forecast-video-20`` and
    ``forecast-video-batch`` stand beside ``forecast-video``.

    A model whose samples are all equal is asked for one, and its rows say ``samples`` 1. SSIM, PSNR and the rest are
    defined in ``metrics/image_quality.py``; they see frames in [0, 1] that are not rounded to bytes. ``Result.protocol``
    records how the numbers were made.

    Attributes:
        context: First frames that are given.
        horizon: Frames to forecast; ``None``: all the rest.
        samples: Futures drawn of each sequence: N.
        metrics: What is measured of every frame; the first one chooses the pictures.
        temperature: Factor of the standard deviation of the forecast's latents; 1 is the model.
        statistics: What batch normalisation uses: ``running`` averages of training, or the mean and variance of each step of
            the ``batch``, all its samples included, as published samples were drawn; ``None``: what the model is set to.
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
    statistics: BatchStatistics | None = None
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
        if self.horizon is not None and self.horizon < 1:
            raise UserError(f"forecast-video.horizon: expected at least 1, got {self.horizon}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"forecast-video.temperature: expected a number of at least 0, got {self.temperature}")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise UserError(f"forecast-video.metrics: expected at least one, none twice, got {self.metrics}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "-".join(map(str, filter(None, ("forecast-video", self.horizon, self.statistics))))

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Draw, score, choose.

        Raises:
            UserError: The model cannot forecast (or not at this temperature, or has no batch normalisation), the sequences
                are too short, or a file of weights is missing or holds something else.
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
        device, clips = device_of(model), 0
        batches = evaluation_batches(dataset, self.split, self.sequences, self.batch_size)
        scorer = Scorer(self.metrics, self._lpips(device))
        features, weights = self._features(dataset, device)
        session = _Session(
            task=self,
            model=model,
            horizon=horizon,
            scorer=scorer,
            features=features,
            blank=background(dataset).to(device),
            average=mean_image(dataset).to(device),
            precision=self._precision(device),
            generator=torch.Generator(device).manual_seed(self.seed),
        )
        with _normalised(model, self.statistics) as statistics:
            for batch in batches:
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
            "batch_normalisation": statistics,
            "precision": session.precision,
            "frames": "float32 in [0, 1], clamped, not rounded to bytes",
            "metrics": scorer.record(),
            "crps": "fair estimator, per pixel",
            "frechet": "one sample a sequence against the same true sequences, context frames in both",
            "features": {k: drawn for k, feature in features.items() if (drawn := getattr(feature, "drawn", None))},
            "clips": clips,
            "split": self.split,
            "dataset": data_record(dataset),
            "uncertainty": "standard error of the mean over clips; intervals: 1.96 of them on both sides",
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
        features: Features = {"frechet_random_features": RandomVideoFeatures(dataset.shapes["video"][1]).to(device)}
        hashes = {}
        if self.fvd_network is not None:
            i3d = I3D(self.fvd_network, device)
            features["fvd"], hashes["fvd_network"] = i3d, i3d.hash
        for name in ("lpips_backbone", "lpips_heads") if "lpips" in self.metrics else ():
            hashes[name] = file_hash(getattr(self, name), name)
        return features, hashes


@contextmanager
def _normalised(model: Any, statistics: BatchStatistics | None) -> Iterator[str]:
    """Let batch normalisation use these statistics for a while; say which it uses.

    Raises:
        UserError: The model has no batch normalisation that could.
    """
    norms = [part for part in model.modules() if isinstance(part, StepNorm)] if hasattr(model, "modules") else []
    if statistics is not None and not norms:
        raise UserError(
            f"forecast-video.statistics: {type(model).__name__} has no batch normalisation, so none is wanted, "
            f"got {statistics}"
        )
    before: list[BatchStatistics] = [norm.statistics for norm in norms]
    try:
        for norm in norms:
            norm.statistics = statistics or norm.statistics
        yield ", ".join(sorted({norm.statistics for norm in norms})) or "none"
    finally:
        for norm, own in zip(norms, before, strict=True):
            norm.statistics = own


@dataclass(kw_only=True)
class _Session:
    """What is gathered while the batches go by."""

    task: ForecastVideo
    model: Any
    horizon: int
    scorer: Scorer
    features: Features
    blank: Tensor
    average: Tensor
    precision: str
    generator: torch.Generator
    samples: int = 0
    tally: Tally = field(default_factory=Tally)
    vectors: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    crps: dict[str, list[Tensor]] = field(default_factory=dict)
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
        drawn = self._draw(given, rest.action, truth, scored)
        condition = {"samples": self.samples}
        for metric, parts in drawn.scores.items():
            scores, each = torch.cat(parts), torch.arange(len(truth))
            merit = merits(scores, scored, metric in HIGHER)
            self._add("best-of-N", metric, scores[merit.argmax(0), each], scored, condition)
            self._add("mean", metric, scores.mean(0), scored, condition)
            self._add("worst", metric, scores[merit.argmin(0), each], scored, condition)
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
        trivial = {
            "black": torch.zeros_like(truth),
            "copy-last": last.expand_as(truth),
            "mean-image": self.average.expand_as(truth),
        }
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
            films = {"truth": truth, **answers}
            films |= {k: x.video for k, x in (("best", drawn.best), ("worst", drawn.worst)) if x.video is not None}
            films |= {f"sample-{i + 1}": sample for i, sample in enumerate(drawn.first)}
            n = min(self.task.shown, len(truth))
            self.examples = {f"video/{k}": torch.cat([before[:n], x[:n]], 1).cpu() for k, x in films.items()}
            self.examples["context"] = torch.tensor(self.task.context)

    def _draw(self, given: SequenceBatch, action: Tensor | None, truth: Tensor, scored: Tensor) -> "_Drawn":
        """Draw all samples of a batch, part by part, and keep of each part no more than its scores."""
        options: dict[str, Any] = {} if self.task.temperature == 1 else {"temperature": self.task.temperature}
        leading, first, shown = self.task.metrics[0], not self.samples, self.task.shown
        drawn = _Drawn(torch.zeros(truth.shape[:2]), torch.zeros(truth.shape[:2]))
        wanted, parts = self.samples or self.task.samples, []
        while sum(map(len, parts)) < wanted:
            left = wanted - sum(map(len, parts))
            # At least two of the ensemble in every part, of equal sizes.
            size = -(-left // -(-left // max(4, BYTES_AT_ONCE // (4 * truth.numel()))))
            with self._autocast(truth.device):
                frames = self.model.forecast(
                    given, self.horizon, action=action, samples=size, generator=self.generator, **options
                ).float()
            if first and size > 1 and not parts and all(torch.equal(frame, frames[0]) for frame in frames[1:]):
                wanted, frames = 1, frames[:1]  # the model knows one future only
            if bool((frames.amax() > 1) | (frames.amin() < 0)):
                frames = frames.clamp(0, 1)
            scores = self.scorer(frames, truth)
            parts.append(scores[leading])
            for metric, values in scores.items():
                drawn.scores.setdefault(metric, []).append(values)
            crps, spread = ensemble_scores(frames, truth)
            drawn.crps += len(frames) / wanted * crps
            drawn.spread += len(frames) / wanted * spread
            drawn.first += [frame.clone() for frame in frames[: SHOWN_SAMPLES - len(drawn.first)]]
            if first and shown:
                merit = merits(scores[leading][:, :shown], scored[:shown], leading in HIGHER)
                drawn.best.see(merit, frames[:, :shown])
                drawn.worst.see(merit, frames[:, :shown])
            del frames
        self.samples = wanted
        return drawn

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _add(
        self,
        method: str,
        metric: str,
        values: Tensor,
        scored: Tensor,
        condition: dict[str, Any],
        baseline: bool = False,
    ) -> None:
        for step in range(self.horizon):
            one = slice(step, step + 1)
            setting = {"steps ahead": step + 1, **condition}
            self.tally.add(method, metric, setting, values[:, one], scored[:, one], baseline=baseline)
        setting = {"horizon": self.horizon, **condition}
        self.tally.add(method, f"{metric}_mean", setting, values, scored, baseline=baseline)

    def _keep_features(self, method: str, videos: Tensor) -> None:
        for metric, feature in self.features.items():
            for video in videos.split(8) if len(videos) else ():
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
        rows = [bound for row in self.tally.rows() for bound in _with_interval(row)]
        ours = torch.cat(self.crps["ensemble"])
        for method in TRIVIAL:
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
            found, true = torch.cat(parts), torch.cat(self.vectors.get((metric, "truth"), parts))
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
                    baseline=method in TRIVIAL,
                )
            )
        return tuple(rows)


def _with_interval(row: Row) -> tuple[Row, ...]:
    """Return a row; of a mean over the horizon with the bounds of its 95 % interval."""
    if not row.metric.endswith("_mean"):
        return (row,)
    bounds = (("low", -1.96), ("high", 1.96))
    return row, *(
        replace(row, metric=f"{row.metric}_{end}", value=row.value + z * row.standard_error, standard_error=math.nan)
        for end, z in bounds
    )


@dataclass
class _Drawn:
    """What is kept of the samples of a batch."""

    crps: Float[Tensor, "b t"]
    spread: Float[Tensor, "b t"]
    scores: dict[Metric, list[Float[Tensor, "s b t"]]] = field(default_factory=dict)
    first: list[Tensor] = field(default_factory=list)
    best: Extreme = field(default_factory=lambda: Extreme(1))
    worst: Extreme = field(default_factory=lambda: Extreme(-1))
