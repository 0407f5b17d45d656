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
        "kvae-demo": "dynarium.recipes.kvae:kvae_demo",
        "kvae-fraccaro2017": "dynarium.recipes.kvae:kvae_fraccaro2017",
        "kvae-annealed": "dynarium.recipes.kvae:kvae_annealed",
        "slds-nascar": "dynarium.recipes.slds:slds_nascar",
        "slds-nascar-standard": "dynarium.recipes.slds:slds_nascar_standard",
        "lds-nascar": "dynarium.recipes.slds:lds_nascar",
        "lds-nascar-gradient": "dynarium.recipes.slds:lds_nascar_gradient",
        "slds-lorenz": "dynarium.recipes.slds:slds_lorenz",
        "kvae-collapse-annealed": "dynarium.recipes.collapse:kvae_collapse_annealed",
        "kvae-collapse-constant": "dynarium.recipes.collapse:kvae_collapse_constant",
        "kvae-collapse-paper": "dynarium.recipes.collapse:kvae_collapse_paper",
        "skvae-demo": "dynarium.recipes.switching_kvae:skvae_demo",
        "skvae-fraccaro2017": "dynarium.recipes.switching_kvae:skvae_fraccaro2017",
        "slvm-gravity16": "dynarium.recipes.slvm:slvm_gravity16",
        "slvm-gravity16-global": "dynarium.recipes.slvm:slvm_gravity16_global",
        "slvm-gravity16-lstm": "dynarium.recipes.slvm:slvm_gravity16_lstm",
        "slvm-gravity16-meta-lstm": "dynarium.recipes.slvm:slvm_gravity16_meta_lstm",
        "slvm-gravity16-per-task": "dynarium.recipes.slvm:slvm_gravity16_per_task",
        "slvm-mixed-physics": "dynarium.recipes.slvm:slvm_mixed_physics",
        "slvm-mixed-physics-global": "dynarium.recipes.slvm:slvm_mixed_physics_global",
    },
)

PAPERS = Registry(
    "published table",
    {
        "kvae-fraccaro2017": "dynarium.recipes.kvae:FRACCARO2017",
        "kvae-annealed": "dynarium.recipes.kvae:ANNEALED",
        "skvae-fraccaro2017": "dynarium.recipes.kvae:FRACCARO2017",
    },
)
"""Recipe -> the rows its paper printed, with the method, metric and condition names of our own rows."""

__all__ = [
    "PAPERS",
    "RECIPES",
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
