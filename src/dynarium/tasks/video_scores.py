"""How the frames of video predictions are scored: by name, many samples against one truth, in memory that stays flat."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.metrics.frames import squared_error
from dynarium.metrics.image_quality import LEAST_ERROR, SSIM, WINDOWS, psnr, ssims
from dynarium.metrics.probabilistic import crps
from dynarium.nn.perceptual import LPIPS

Metric = Literal["psnr", "ssim", "ssim_svg", "ssim_finn", "mse", "lpips"]

SSIMS: tuple[SSIM, ...] = ("ssim", "ssim_svg", "ssim_finn")

HIGHER: frozenset[Metric] = frozenset(["psnr", *SSIMS])
"""Metrics of which more is better."""
PERCEIVED_AT_ONCE = 32


@dataclass(frozen=True)
class Scorer:
    """Scores frames by several metrics.

    Attributes:
        metrics: Their names.
        lpips: The network of LPIPS, where it is among them.
    """

    metrics: tuple[Metric, ...]
    lpips: LPIPS | None = None

    def __call__(
        self, samples: Float[Tensor, "s b t c h w"], truth: Float[Tensor, "b t c h w"]
    ) -> dict[Metric, Float[Tensor, "s b t"]]:
        """Return the score of every frame of every sample, on the CPU."""
        found: dict[Metric, Tensor] = {**ssims(samples, truth, [m for m in SSIMS if m in self.metrics])}
        return {m: (found[m] if m in found else self._score(m, samples, truth)).cpu() for m in self.metrics}

    def _score(self, metric: Metric, samples: Tensor, truth: Tensor) -> Tensor:
        if metric == "lpips":
            assert self.lpips is not None
            return _perceived(self.lpips, samples, truth)
        measure = psnr if metric == "psnr" else squared_error
        return torch.stack([measure(sample, truth) for sample in samples])

    def record(self) -> dict[str, Any]:
        """Return what each metric is, for the protocol."""
        described: dict[str, Any] = {}
        for metric in self.metrics:
            if metric in SSIMS:
                described[metric] = _ssim_record(metric)
            elif metric == "lpips":
                assert self.lpips is not None
                described[metric] = {"version": "0.1", "network": self.lpips.network, "range": "[-1, 1]"}
            elif metric == "psnr":
                described[metric] = {"range": 1.0, "channels": "each, then averaged", "least_mse": LEAST_ERROR}
            else:
                described[metric] = {"range": 1.0, "pixels": "averaged"}
        return described


def _ssim_record(variant: SSIM) -> dict[str, Any]:
    window = WINDOWS[variant]
    kind = "uniform" if window.sigma is None else f"gaussian, sigma {window.sigma}"
    return {
        "variant": window.name,
        "window": f"{window.size}x{window.size} {kind}, inside the frame",
        "covariance": "sample" if window.sample else "plain",
        "range": window.range,
    }


def _perceived(lpips: LPIPS, samples: Tensor, truth: Tensor) -> Tensor:
    flat, frames = samples.flatten(1, 2), truth.flatten(0, 1)
    parts = []
    for k in range(0, len(frames), PERCEIVED_AT_ONCE):
        part = slice(k, k + PERCEIVED_AT_ONCE)
        stages = lpips.stages(frames[part])  # once for all samples
        parts.append(torch.stack([lpips.between(lpips.stages(sample[part]), stages) for sample in flat]))
    return torch.cat(parts, 1).unflatten(1, truth.shape[:2])


def ensemble_scores(
    samples: Float[Tensor, "s b t c h w"], truth: Float[Tensor, "b t c h w"]
) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
    """Return CRPS and mean difference of the samples' pixels, averaged over each frame, on the CPU."""
    found = [crps(samples[:, i], truth[i]) for i in range(truth.shape[0])]
    score, spread = (torch.stack(column).mean((-3, -2, -1)).cpu() for column in zip(*found, strict=True))
    return score, spread


def merits(scores: Float[Tensor, "s b t"], counted: Bool[Tensor, "b t"], higher: bool) -> Float[Tensor, "s b"]:
    """Return the average of each sample's scores over the steps that count, its sign such that more is better.

    A sample that scored something that is not a number is the worst.
    """
    average = torch.where(counted, scores, 0.0).sum(2) / counted.sum(1).clamp(min=1)
    return (average if higher else -average).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


@dataclass
class Extreme:
    """The video of the most extreme merit that was seen of each sequence, whichever part of the samples it came in.

    Attributes:
        sign: 1: the best, -1: the worst.
    """

    sign: int
    merit: Float[Tensor, " b"] | None = None
    video: Float[Tensor, "b t c h w"] | None = None

    def see(self, merit: Float[Tensor, "s b"], samples: Float[Tensor, "s b t c h w"]) -> None:
        """Take the most extreme of these samples where they exceed what is held."""
        value, index = (self.sign * merit).max(0)
        video = samples[index.to(samples.device), torch.arange(len(index), device=samples.device)]
        if self.merit is None or self.video is None:
            self.merit, self.video = value, video
        else:
            better = (value > self.merit).to(samples.device)[:, None, None, None, None]
            self.merit, self.video = torch.maximum(self.merit, value), torch.where(better, video, self.video)
