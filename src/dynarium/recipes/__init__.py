"""Recipes: one function per experiment that returns a whole, typed configuration; and what turns one into a run."""

import importlib
from typing import TYPE_CHECKING, Any

from dynarium.registry import Registry

if TYPE_CHECKING:
    from dynarium.recipes.experiment import (
        DataConfig,
        Experiment,
        Run,
        experiment_of,
        find_run,
        load_experiment,
        load_run,
        paper_of,
        read_experiment,
        train,
        with_data,
    )

RECIPES = Registry(
    "recipe",
    {
        "ae-rnn-fraccaro2017": "dynarium.recipes.kvae_baselines:ae_rnn_fraccaro2017",
        "dots-contrast": "dynarium.recipes.jepa:dots_contrast",
        "dots-idm": "dynarium.recipes.jepa:dots_idm",
        "dots-pldm": "dynarium.recipes.jepa:dots_pldm",
        "dots-random": "dynarium.recipes.jepa:dots_random",
        "dots-reconstruction": "dynarium.recipes.jepa:dots_reconstruction",
        "dots-rssm": "dynarium.recipes.jepa:dots_rssm",
        "dots-sigreg": "dynarium.recipes.jepa:dots_sigreg",
        "dots-simclr": "dynarium.recipes.jepa:dots_simclr",
        "dots-supervised": "dynarium.recipes.jepa:dots_supervised",
        "dots-vicreg": "dynarium.recipes.jepa:dots_vicreg",
        "flow-video-smmnist": "dynarium.recipes.svg:flow_video_smmnist",
        "identify-lti-fast": "dynarium.recipes.identify_transfer:identify_lti_fast",
        "identify-lti-one-step": "dynarium.recipes.identify:identify_lti_one_step",
        "identify-lti-residual": "dynarium.recipes.identify:identify_lti_residual",
        "identify-lti-simulation": "dynarium.recipes.identify:identify_lti_simulation",
        "identify-lti-slow": "dynarium.recipes.identify_transfer:identify_lti_slow",
        "identify-lti-slow-and-fast": "dynarium.recipes.identify_transfer:identify_lti_slow_and_fast",
        "identify-wh-long": "dynarium.recipes.identify_transfer:identify_wh_long",
        "identify-wh-one-step": "dynarium.recipes.identify:identify_wh_one_step",
        "identify-wh-one-step-large": "dynarium.recipes.identify:identify_wh_one_step_large",
        "identify-wh-short": "dynarium.recipes.identify_transfer:identify_wh_short",
        "identify-wh-simulation": "dynarium.recipes.identify:identify_wh_simulation",
        "identify-wh-to-parallel": "dynarium.recipes.identify_transfer:identify_wh_to_parallel",
        "identify-wh-to-system": "dynarium.recipes.identify_transfer:identify_wh_to_system",
        "rooms-pldm": "dynarium.recipes.rooms:rooms_pldm",
        "rooms-pldm-no-idm": "dynarium.recipes.rooms:rooms_pldm_no_idm",
        "kvae-demo": "dynarium.recipes.kvae:kvae_demo",
        "kvae-fraccaro2017": "dynarium.recipes.kvae:kvae_fraccaro2017",
        "kvae-gravity": "dynarium.recipes.kvae:kvae_gravity",
        "kvae-polygon": "dynarium.recipes.kvae:kvae_polygon",
        "kvae-pong": "dynarium.recipes.kvae:kvae_pong",
        "kvae-annealed": "dynarium.recipes.kvae:kvae_annealed",
        "pendulum-dkf": "dynarium.recipes.pendulum:pendulum_dkf",
        "pendulum-dks": "dynarium.recipes.pendulum:pendulum_dks",
        "pendulum-kvae": "dynarium.recipes.pendulum:pendulum_kvae",
        "slds-nascar": "dynarium.recipes.slds:slds_nascar",
        "slds-nascar-standard": "dynarium.recipes.slds:slds_nascar_standard",
        "slds-nascar-modes": "dynarium.recipes.slds:slds_nascar_modes",
        "lds-nascar": "dynarium.recipes.slds:lds_nascar",
        "lds-nascar-gradient": "dynarium.recipes.slds:lds_nascar_gradient",
        "slds-lorenz": "dynarium.recipes.slds:slds_lorenz",
        "kvae-collapse-annealed": "dynarium.recipes.collapse:kvae_collapse_annealed",
        "kvae-collapse-constant": "dynarium.recipes.collapse:kvae_collapse_constant",
        "kvae-collapse-paper": "dynarium.recipes.collapse:kvae_collapse_paper",
        "skvae-demo": "dynarium.recipes.switching_kvae:skvae_demo",
        "skvae-fraccaro2017": "dynarium.recipes.switching_kvae:skvae_fraccaro2017",
        "skvae-gravity": "dynarium.recipes.switching_kvae:skvae_gravity",
        "skvae-polygon": "dynarium.recipes.switching_kvae:skvae_polygon",
        "skvae-pong": "dynarium.recipes.switching_kvae:skvae_pong",
        "slvm-gravity16": "dynarium.recipes.slvm:slvm_gravity16",
        "slvm-gravity16-global": "dynarium.recipes.slvm:slvm_gravity16_global",
        "slvm-gravity16-lstm": "dynarium.recipes.slvm:slvm_gravity16_lstm",
        "slvm-gravity16-meta-lstm": "dynarium.recipes.slvm:slvm_gravity16_meta_lstm",
        "slvm-gravity16-per-task": "dynarium.recipes.slvm:slvm_gravity16_per_task",
        "slvm-mixed-physics": "dynarium.recipes.slvm:slvm_mixed_physics",
        "slvm-mixed-physics-global": "dynarium.recipes.slvm:slvm_mixed_physics_global",
        "srvp-smmnist": "dynarium.recipes.svg:srvp_smmnist",
        "svg-prime-smmnist": "dynarium.recipes.svg:svg_prime_smmnist",
        "svg-deterministic-push": "dynarium.recipes.video_benchmarks:svg_deterministic_push",
        "svg-deterministic-smmnist": "dynarium.recipes.svg:svg_deterministic_smmnist",
        "svg-fp-kth": "dynarium.recipes.video_benchmarks:svg_fp_kth",
        "svg-fp-push": "dynarium.recipes.video_benchmarks:svg_fp_push",
        "svg-fp-smmnist": "dynarium.recipes.svg:svg_fp_smmnist",
        "svg-lp-bair": "dynarium.recipes.video_benchmarks:svg_lp_bair",
        "svg-lp-bair-actions": "dynarium.recipes.video_benchmarks:svg_lp_bair_actions",
        "svg-lp-kth": "dynarium.recipes.video_benchmarks:svg_lp_kth",
        "svg-lp-push": "dynarium.recipes.video_benchmarks:svg_lp_push",
        "svg-lp-push-actions": "dynarium.recipes.video_benchmarks:svg_lp_push_actions",
        "svg-lp-smmnist": "dynarium.recipes.svg:svg_lp_smmnist",
        "vae-rnn-fraccaro2017": "dynarium.recipes.kvae_baselines:vae_rnn_fraccaro2017",
    },
)

PAPERS = Registry(
    "published table",
    {
        "identify-lti-one-step": "dynarium.recipes.identify:LTI_ONE_STEP",
        "identify-lti-simulation": "dynarium.recipes.identify:LTI_SIMULATION",
        "identify-wh-long": "dynarium.recipes.identify_transfer:WH_LONG",
        "identify-wh-one-step": "dynarium.recipes.identify:WH_ONE_STEP",
        "identify-wh-one-step-large": "dynarium.recipes.identify:WH_ONE_STEP_LARGE",
        "identify-wh-short": "dynarium.recipes.identify_transfer:WH_SHORT",
        "identify-wh-simulation": "dynarium.recipes.identify:WH_SIMULATION",
        "kvae-fraccaro2017": "dynarium.recipes.kvae:FRACCARO2017",
        "kvae-annealed": "dynarium.recipes.kvae:ANNEALED",
        "skvae-fraccaro2017": "dynarium.recipes.kvae:FRACCARO2017",
        "srvp-smmnist": "dynarium.recipes.svg:SRVP",
        "svg-lp-bair": "dynarium.recipes.video_benchmarks:BAIR",
        "svg-lp-kth": "dynarium.recipes.video_benchmarks:KTH",
        "ae-rnn-fraccaro2017": "dynarium.recipes.kvae_baselines:AE_RNN",
        "vae-rnn-fraccaro2017": "dynarium.recipes.kvae_baselines:VAE_RNN",
    },
)
"""Recipe -> the rows its paper printed, with the method, metric and condition names of our own rows."""

STUDIES = Registry(
    "study",
    {
        "identify-compute": "dynarium.recipes.identify_compute:IdentifyCompute",
        "jepa-slow-features": "dynarium.recipes.jepa_slow_features:JEPASlowFeatures",
        "stochastic-bounces": "dynarium.recipes.stochastic_bounces:StochasticBounces",
    },
)
"""Studies: many experiments, one figure."""

__all__ = [
    "PAPERS",
    "RECIPES",
    "STUDIES",
    "DataConfig",
    "Experiment",
    "Run",
    "experiment_of",
    "find_run",
    "load_experiment",
    "load_run",
    "paper_of",
    "read_experiment",
    "train",
    "with_data",
]


def __getattr__(name: str) -> Any:
    """Import what runs experiments when it is first asked for: listing recipes stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'dynarium.recipes' has no attribute {name!r}")
    return getattr(importlib.import_module("dynarium.recipes.experiment"), name)
