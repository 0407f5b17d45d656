"""Training: one trainer for every model, its checkpoints, its run directory."""

from dynarium.data.memory import keep_freed_memory
from dynarium.training.checkpoint import load_weights
from dynarium.training.config import TrainingConfig
from dynarium.training.processes import agreed, main_first, rank_and_world, training_device
from dynarium.training.run_directory import RunDirectory, here
from dynarium.training.trainer import Trainer

__all__ = [
    "RunDirectory",
    "Trainer",
    "TrainingConfig",
    "agreed",
    "here",
    "keep_freed_memory",
    "load_weights",
    "main_first",
    "rank_and_world",
    "training_device",
]
