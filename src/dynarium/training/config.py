"""Options of the trainer."""

from dataclasses import dataclass
from typing import Literal

from dynarium.errors import UserError
from dynarium.objectives.schedules import Constant, Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained; nothing here knows what the model is.

    Attributes:
        steps: Optimiser steps.
        batch_size: Sequences of a batch, over all processes.
        learning_rate: Learning rate as a function of the step.
        optimizer: Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019), LARS (You et al. 2017), RMSprop (Tieleman &
            Hinton 2012) or SGD, stochastic gradient descent with momentum.
        betas: Decays of the running means of gradient and squared gradient in Adam and AdamW. The momentum of SGD is the
            first one, 0 for none; the decay in RMSprop, which has no momentum, is the second; LARS has neither.
        weight_decay: Weight decay of the optimiser.
        decayed: What decays: ``all`` parameters, or ``matrices``, which leaves biases and gains alone, as LARS always does.
        fused: One kernel for all parameters in Adam and AdamW instead of one operation after the other.
        clip_norm: Clip the gradient to this norm; ``None``: do not clip.
        ema: Decay of an exponential moving average of the weights, which is then validated and kept as best.
        precision: ``auto`` times a step in float32 and in bfloat16 autocast on the first batch and takes the faster one.
        keep: What the checkpoint ``best`` holds: the weights of the ``best`` validation, or the ``last`` ones, where losses of
            different steps cannot be compared (a collapsed latent space is easy to predict).
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of ``metrics.jsonl``; each holds means over these steps.
        media_every: Steps between images and videos for the trackers.
        early_stopping: Stop after so many validations without a better one; ``None``: never.
        explode: Stop when the loss leaves its running mean by more than so many times its running size.
        trackers: Where curves go besides ``metrics.jsonl``: tensorboard, wandb, trackio.
        seed: Seed of weights, order and noise.
    """

    steps: int = 10_000
    batch_size: int = 32
    learning_rate: Schedule = Constant(value=1e-3)
    optimizer: Literal["adam", "adamw", "lars", "rmsprop", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decayed: Literal["all", "matrices"] = "all"
    fused: bool = False
    clip_norm: float | None = 10.0
    ema: float | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    keep: Literal["best", "last"] = "best"
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 50
    media_every: int = 1000
    early_stopping: int | None = None
    explode: float = 1e3
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "checkpoint_every", "log_every", "media_every"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name}: expected at least 1, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"training.betas: expected decays in [0, 1), got {self.betas}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"training.ema: expected a decay between 0 and 1, got {self.ema}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(f"training.clip_norm: expected a norm above 0, got {self.clip_norm}")
