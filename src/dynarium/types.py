"""The shared vocabulary: array aliases and the small dataclasses that every room speaks.

Dimension names in shape annotations, everywhere: ``b`` batch, ``t`` time, ``c h w`` frame, ``n`` state,
``p`` observation, ``a`` action, ``k`` mode or mixture component, ``d`` width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

Video = Shaped[Tensor, "b t c h w"]
"""Frames: ``uint8`` in 0..255 or floating point in [0, 1]; row 0 is the top."""


@dataclass(frozen=True, kw_only=True)
class SequenceBatch:
    """A batch of sequences as every model and task sees it. Fields that a dataset lacks are ``None``.

    Attributes:
        video: Frames, ``uint8`` or floating point in [0, 1].
        state: True physical state, aligned with the frames.
        action: ``action[:, t]`` acts from t to t+1; the last one may go unused.
        observation: Sensors that are not images.
        mask: True where the frame (or the observation) of that step is observed.
        length: Number of valid steps of each sequence.
        task: Which dynamics a sequence follows.
        parameter: Physical parameters, constant over a sequence.
        mode: Which of its regimes a switching system is in at each step.
        episode: Which episode of a meta-learning batch a sequence belongs to.
        context: Sequences given as examples of the dynamics; those of the same ``episode`` belong to a sequence.
    """

    video: Shaped[Tensor, "b t c h w"] | None = None
    state: Shaped[Tensor, "b t n"] | None = None
    action: Shaped[Tensor, "b t a"] | None = None
    observation: Shaped[Tensor, "b t p"] | None = None
    mask: Bool[Tensor, "b t"] | None = None
    length: Shaped[Tensor, " b"] | None = None
    task: Shaped[Tensor, " b"] | None = None
    parameter: Shaped[Tensor, "b q"] | None = None
    mode: Shaped[Tensor, "b t"] | None = None
    episode: Shaped[Tensor, " b"] | None = None
    context: "SequenceBatch | None" = None

    def present(self) -> dict[str, Tensor]:
        """Return the arrays that are not ``None``, by name; not those of the context."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def observed(self) -> Bool[Tensor, "b t"] | None:
        """Return which steps are observed, mask and length together; ``None`` when all are."""
        mask = self.mask
        if self.length is not None:
            stepped = next(x for x in (self.video, self.state, self.observation, self.action, mask) if x is not None)
            valid = torch.arange(stepped.shape[1], device=self.length.device) < self.length[:, None]
            mask = valid if mask is None else mask & valid
        return None if mask is None or bool(mask.all()) else mask

    def select(self, index: Shaped[Tensor, " n"]) -> "SequenceBatch":
        """Return the sequences of these numbers; the context stays whole."""
        return replace(self, **{name: value[index] for name, value in self.present().items()})

    def to(self, device: torch.device | str) -> "SequenceBatch":
        """Return the batch on ``device``; dtypes stay as they are."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.present().items()}
        return replace(self, **moved, context=None if self.context is None else self.context.to(device))

    def __len__(self) -> int:
        return len(next(iter(self.present().values())))


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What a system produces: the true states of a batch of sequences, before any picture is drawn.

    Attributes:
        state: Physical states, float64.
        action: Actions, if the system has any.
        observation: Sensors that are not images, if the system has any.
        parameter: Physical parameters of each sequence.
        task: Which dynamics each sequence follows.
        mode: Which of its regimes a switching system is in at each step.
        extra: Further fields a system wants stored (offsets, colours, the energy error); ``derivative`` is dx/dt at each step.
            To a renderer, ``step`` [b, t] says which steps of a sequence these are, where they are not its first ones.
    """

    state: Float[Tensor, "b t n"]
    action: Float[Tensor, "b t a"] | None = None
    observation: Float[Tensor, "b t p"] | None = None
    parameter: Float[Tensor, "b q"] | None = None
    task: Shaped[Tensor, " b"] | None = None
    mode: Shaped[Tensor, "b t"] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number of a result table.

    Attributes:
        method: What produced it: a way of asking the model ("smooth") or a trivial baseline ("hold-last").
        metric: Name of the metric with its convention, e.g. ``wrong_pixels_missing``.
        condition: The setting, e.g. ``{"mask": "random", "p": 0.5}``.
        value: Mean over sequences.
        standard_error: Standard error of that mean over sequences.
        n: Number of sequences.
        baseline: True for a trivial baseline, False for the model.
    """

    method: str
    metric: str
    condition: dict[str, str | float | int] = field(default_factory=dict)
    value: float
    standard_error: float
    n: int
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """The answer of one task: rows for the table, arrays for the pictures.

    Attributes:
        task: Name of the task.
        rows: Measured numbers, trivial baselines included.
        examples: A few sequences for pictures, by name: film strips ``video/<name>`` [b, t, c, h, w] in [0, 1] and others.
        protocol: How the numbers were measured, for machines to compare: whatever else would have to be guessed.
    """

    task: str
    rows: tuple[Row, ...]
    examples: dict[str, Tensor] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
