"""Stochastic video prediction beyond digits: KTH and BAIR, of one's own copy, and a robot's finger that pushes things.

KTH (25 persons, six activities) and BAIR (a robot arm that pushes things, with its actions) cannot be made here. Who has them
imports them once and names the dataset:

    dynarium data import KTH --out kth --size 64 --channels 1
    dynarium train svg-lp-kth --data kth --then evaluate report
    dynarium data import softmotion30_44k --out bair
    dynarium train svg-lp-bair --data bair --then evaluate report

``robot-push`` is a world of the same kind that needs nothing: 64 x 64 pixels in colour, actions, and a table that nobody sees
the unevenness of. 2 frames are given and 10 predicted in training, 28 in the test, as on BAIR; where the finger goes is chance
to those that do not know its actions.

    dynarium train svg-lp-push --then evaluate report

Tiers: ``cpu``, the default: DCGAN of 16 channels, 10 latents, batches of 16, 5,000 updates, best of 20 on 64 sequences.
``smoke``: seconds. ``paper``: the published sizes, for a GPU: VGG of 64 channels, batches of 100, 300 epochs of 600 updates,
best of 100 on 256 sequences. An interrupted run goes on with ``dynarium train --resume``.
"""

import math
from dataclasses import replace
from typing import Any

from dynarium.objectives.schedules import Constant, Schedule
from dynarium.recipes.experiment import DataConfig, Experiment
from dynarium.recipes.svg import Tier, forecast, kl_weight, sized, training, video_table
from dynarium.systems.robot_push import RobotPush, robot_push

VideoExperiment = Experiment[Any, None]
PushExperiment = Experiment[Any, RobotPush]


def svg_lp_kth(tier: Tier = "cpu") -> VideoExperiment:
    """SVG-LP on KTH, 64 x 64, grey: 10 frames given, 10 predicted in training, 30 in the test. Needs ``--data``.

    Denton & Fergus (2018), section 4.2: VGG, 24 latents, beta 1e-6, learning rate 8e-4 (their pictures are of 128 x 128: import
    with ``--size 128``). Expected: the table of Franceschi et al. (2020): PSNR 28.06 +- .29, SSIM .8438 +- .0054, best of 100
    on 1,000 clips. Command: ``dynarium train svg-lp-kth --data kth``.
    """
    return _kth("svg-lp", tier)


def svg_fp_kth(tier: Tier = "cpu") -> VideoExperiment:
    """SVG-FP on KTH, as ``svg_lp_kth``; the authors' own choice for this set. Needs ``--data``.

    Command: ``dynarium train svg-fp-kth --data kth``.
    """
    return _kth("svg-fp", tier)


def svg_lp_bair(tier: Tier = "cpu") -> VideoExperiment:
    """SVG-LP on BAIR, 64 x 64: 2 frames given, 10 predicted in training, 28 in the test; no actions. Needs ``--data``.

    Denton & Fergus (2018), section 4.3: VGG, 64 latents, beta 1e-4. Expected: the table of Franceschi et al. (2020): PSNR
    18.95 +- .26, SSIM .8058 +- .0088, best of 100 on 256 sequences. Command: ``dynarium train svg-lp-bair --data bair``.
    """
    return _bair("svg-lp-bair", "none", tier)


def svg_lp_bair_actions(tier: Tier = "cpu") -> VideoExperiment:
    """SVG-LP on BAIR that knows the actions of the arm; nothing was published for it. Needs ``--data``.

    Command: ``dynarium train svg-lp-bair-actions --data bair``.
    """
    return _bair("svg-lp-bair-actions", "raw", tier)


def svg_lp_push(tier: Tier = "cpu") -> PushExperiment:
    """SVG-LP on the finger's strokes, which it is not told. Command: ``dynarium train svg-lp-push --then evaluate report``."""
    return push("svg-lp", tier)


def svg_lp_push_actions(tier: Tier = "cpu") -> PushExperiment:
    """SVG-LP that knows the actions of the finger. Command: ``dynarium train svg-lp-push-actions --then evaluate report``."""
    base = push("svg-lp", tier)
    return replace(base, name="svg-lp-push-actions", model=replace(base.model, actions="raw"))


def svg_fp_push(tier: Tier = "cpu") -> PushExperiment:
    """SVG-FP on the finger's strokes, without actions. Command: ``dynarium train svg-fp-push --then evaluate report``."""
    return push("svg-fp", tier)


def svg_deterministic_push(tier: Tier = "cpu") -> PushExperiment:
    """The predictor without latents, and without actions. Command: ``dynarium train svg-deterministic-push``."""
    return push("svg-deterministic", tier)


def push(model: str, tier: Tier) -> PushExperiment:
    """Return the experiment of a model on the robot's finger, which is as large as the things, so that small networks see it.

    ``cpu``: on windows of 6,000 stored sequences, as making batches on the fly would take as long as training on them.
    """
    data = DataConfig(online=tier != "cpu", train=6000, val=256, test=256, window=12)
    if tier == "smoke":
        data = replace(data, train=16, val=16, test=16, steps=8, window=6, workers=1)
    elif tier == "paper":
        data = replace(data, train=1000, val=1000)
    return Experiment(
        name=f"{model}-push",
        world=replace(robot_push(), finger=6.0, max_action=5.0),
        data=data,
        model=_model(model, tier, latent=64, beta=kl_weight(tier), context=2),
        training=training(tier),
        tasks=(forecast(tier, 2, None),),
    )


def _kth(model: str, tier: Tier) -> VideoExperiment:
    question = forecast(tier, 10, None if tier == "smoke" else 30)
    return Experiment(
        name=f"{model}-kth",
        world=None,
        data=DataConfig(window=20),
        model=_model(model, tier, latent=24, beta=Constant(value=1e-6), context=10),
        training=training(tier, rate=8e-4),
        tasks=(replace(question, sequences=1000) if tier == "paper" else question,),
    )


def _bair(name: str, actions: str, tier: Tier) -> VideoExperiment:
    return Experiment(
        name=name,
        world=None,
        data=DataConfig(window=12),
        model=replace(_model("svg-lp", tier, latent=64, beta=kl_weight(tier), context=2), actions=actions),
        training=training(tier),
        tasks=(forecast(tier, 2, None if tier == "smoke" else 28),),
    )


def _model(name: str, tier: Tier, *, latent: int, beta: Schedule, context: int) -> Any:
    """Return a model of the published sizes, or of the tier's."""
    published = {"backbone": "vgg", "latent": latent} if tier == "paper" else {}
    return sized(name, tier, beta=beta, context=context, **published)


KTH = video_table(
    30,
    1000,
    {"psnr": (28.06, 0.29), "ssim_finn": (0.8438, 0.0054), "lpips": (0.0923, 0.0038), "fvd": (377.0, 6.0)},
    sv2p={"psnr": (28.19, 0.31), "ssim_finn": (0.838, math.nan), "lpips": (0.2049, 0.0053), "fvd": (636.0, 1.0)},
    savp={"psnr": (26.51, 0.29), "ssim_finn": (0.7564, 0.0062), "lpips": (0.1120, 0.0039), "fvd": (374.0, 3.0)},
    srvp={"psnr": (29.69, 0.32), "ssim_finn": (0.8697, 0.0046), "lpips": (0.0736, 0.0029), "fvd": (222.0, 3.0)},
)
"""SVG-LP on KTH, beside others, in the table of Franceschi et al. (2020): 64 x 64, 10 frames given."""

BAIR = video_table(
    28,
    256,
    {"psnr": (18.95, 0.26), "ssim_finn": (0.8058, 0.0088), "lpips": (0.0609, 0.0034), "fvd": (255.0, 4.0)},
    sv2p={"psnr": (20.39, 0.27), "ssim_finn": (0.8169, 0.0086), "lpips": (0.0912, 0.0053), "fvd": (965.0, 17.0)},
    savp={"psnr": (18.44, 0.25), "ssim_finn": (0.7887, 0.0092), "lpips": (0.0634, 0.0026), "fvd": (152.0, 9.0)},
    srvp={"psnr": (19.59, 0.27), "ssim_finn": (0.8196, 0.0084), "lpips": (0.0574, 0.0032), "fvd": (162.0, 4.0)},
)
"""SVG-LP on BAIR, beside others, in the table of Franceschi et al. (2020): 64 x 64, 2 frames given, no actions."""
