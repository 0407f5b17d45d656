"""Latent world models of a moving dot, and what they are held against.

One architecture (MeNet5, 512 dimensions, a GRU that reads the actions; Sobal et al. 2022, arXiv:2211.10831), trained in many
ways, and one question: is the position of the dot still in the latent that was imagined from the first frame and the actions
alone? And can one steer by it: are latents close where places are? Training batches are made on the fly; validation and
probes are of a stored dataset of the same world. Planning is by iCEM, in an open field, where the straight way is the best.

Tiers: ``cpu``, the default: batches of 64, Adam with a rate of 1e-3, warm-up and half cosine, 1000 steps, about two minutes on
two cores (the RSSM some five). ``paper``: the published schedule, 100 epochs of 10,000 sequences; where nothing is published
(``sigreg``, ``pldm``, ``contrast``) as long, in batches of 128, with Adam. The weights that are kept are the last ones.

    dynarium train dots-vicreg --then evaluate report
    dynarium train dots-vicreg --world.noise.changing 1 --then evaluate
    dynarium reproduce dots-vicreg --tier paper
"""

from dataclasses import replace
from typing import Any

from dynarium.models import MODELS
from dynarium.objectives.schedules import Constant, Cosine
from dynarium.recipes.experiment import DataConfig, Experiment, Tier
from dynarium.recipes.jepa_table import EPOCH, TABLE, published
from dynarium.systems.dots import MovingDots
from dynarium.tasks.geometry import Geometry
from dynarium.tasks.plan import Plan
from dynarium.tasks.planners import ICEM
from dynarium.tasks.probe_rollout import ProbeRollout
from dynarium.training import TrainingConfig

DotsExperiment = Experiment[Any, MovingDots]

METHODS = {
    "vicreg": "jepa-vicreg",
    "simclr": "jepa-simclr",
    "sigreg": "jepa-sigreg",
    "contrast": "jepa-contrast",
    "pldm": "jepa-pldm",
    "idm": "jepa-idm",
    "reconstruction": "reconstruction",
    "rssm": "rssm",
    "supervised": "jepa-supervised",
    "random": "jepa-random",
}
"""Method -> model, in the order of figures: joint embeddings, then what they are held against."""

STEPS = 1000
"""Optimiser steps of the tier ``cpu``."""


def dots(method: str, tier: Tier = "cpu") -> DotsExperiment:
    """Return the experiment of a method on one dot without noise."""
    if tier == "paper" and (method in TABLE or method == "reconstruction"):
        return published(method, "changing-uniform", 0)
    name, data = f"dots-{method}", DataConfig(online=True, train=5000, val=512, test=2000)
    steering = Plan(planner=ICEM(samples=100, iterations=3), horizon=10, replan=2, steps=20, sequences=100)
    tasks = (ProbeRollout(), Geometry(), steering)
    if method == "random":
        training = TrainingConfig(steps=1, batch_size=64, learning_rate=Constant(value=0.0), keep="last")
    elif tier == "paper":
        training, data = _training(100 * (EPOCH // 128), 128), replace(data, train=EPOCH)
    else:
        training = _training(STEPS, 64)
    return Experiment(
        name=name, world=MovingDots(), data=data, model=MODELS[METHODS[method]](), training=training, tasks=tasks
    )


def shortened(training: TrainingConfig, steps: int) -> TrainingConfig:
    """Return the training with another number of steps; the schedule of its rate shrinks with it."""
    rate = training.learning_rate
    if isinstance(rate, Cosine):
        rate = replace(rate, warmup=min(rate.warmup, steps // 10), until=steps)
    return replace(training, steps=steps, learning_rate=rate)


def _training(steps: int, batch_size: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=Cosine(value=1e-3, warmup=50, until=steps),
        keep="last",
        validate_every=steps // 10,
        checkpoint_every=steps // 10,
    )


def dots_vicreg(tier: Tier = "cpu") -> DotsExperiment:
    """VICReg (Sobal et al. 2022; the weights published for the dot without noise). Command: ``dynarium train dots-vicreg``."""
    return dots("vicreg", tier)


def dots_simclr(tier: Tier = "cpu") -> DotsExperiment:
    """Contrast across sequences (Sobal et al. 2022). Command: ``dynarium train dots-simclr``."""
    return dots("simclr", tier)


def dots_sigreg(tier: Tier = "cpu") -> DotsExperiment:
    """SIGReg: latents pushed towards N(0, I) (arXiv:2511.08544, 2603.19312). Command: ``dynarium train dots-sigreg``."""
    return dots("sigreg", tier)


def dots_contrast(tier: Tier = "cpu") -> DotsExperiment:
    """Contrast within a trajectory (arXiv:2606.07770), which fixed noise cannot satisfy.

    Command: ``dynarium train dots-contrast --world.noise.fixed 1``.
    """
    return dots("contrast", tier)


def dots_pldm(tier: Tier = "cpu") -> DotsExperiment:
    """VICReg, slow features and inverse dynamics (PLDM, arXiv:2502.14819). Command: ``dynarium train dots-pldm``."""
    return dots("pldm", tier)


def dots_idm(tier: Tier = "cpu") -> DotsExperiment:
    """Inverse dynamics alone (Sobal et al. 2022). Command: ``dynarium train dots-idm``."""
    return dots("idm", tier)


def dots_reconstruction(tier: Tier = "cpu") -> DotsExperiment:
    """Frames decoded from the roll-out, deterministically (Sobal et al. 2022). ``dynarium train dots-reconstruction``."""
    return dots("reconstruction", tier)


def dots_rssm(tier: Tier = "cpu") -> DotsExperiment:
    """A recurrent state-space model (Hafner et al. 2019, arXiv:1811.04551). Command: ``dynarium train dots-rssm``."""
    return dots("rssm", tier)


def dots_supervised(tier: Tier = "cpu") -> DotsExperiment:
    """The same network trained on the true positions: what labels give. Command: ``dynarium train dots-supervised``."""
    return dots("supervised", tier)


def dots_random(tier: Tier = "cpu") -> DotsExperiment:
    """The same network as it was drawn: what the architecture gives. Command: ``dynarium train dots-random``."""
    return dots("random", tier)
