"""Switching Kalman VAE recipes on the bouncing ball, and the study of posterior collapse."""

from dataclasses import replace

from dynarium.models.switching_kvae import SwitchingKVAEConfig
from dynarium.recipes.experiment import Experiment
from dynarium.recipes.kvae import kvae_demo, kvae_fraccaro2017
from dynarium.systems.ball import BouncingBall

SwitchingKVAEExperiment = Experiment[SwitchingKVAEConfig, BouncingBall]


def skvae_demo() -> SwitchingKVAEExperiment:
    """The demonstration: a switching KVAE on the bouncing ball, 2,500 steps, beside ``kvae-demo``.

    Command: ``dynarium train skvae-demo --then evaluate report``.
    """
    return replace(kvae_demo(), name="skvae-demo", model=SwitchingKVAEConfig())


def skvae_fraccaro2017() -> SwitchingKVAEExperiment:
    """Does switching beat the mixture? The experiment of ``kvae-fraccaro2017`` with regimes in place of the LSTM's mixture.

    Data, steps, optimiser and questions are those of ``kvae_fraccaro2017`` (Fraccaro et al. 2017, section 5.1), so the two
    stand side by side in the results. Command: ``dynarium reproduce skvae-fraccaro2017 --seeds 0 1 2``.
    """
    return replace(kvae_fraccaro2017(), name="skvae-fraccaro2017", model=SwitchingKVAEConfig())
