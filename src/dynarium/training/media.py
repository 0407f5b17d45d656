"""Images and videos of a model in training, by what the model can do."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dynarium.models.capabilities import Encodes, Imputes, Reconstructs
from dynarium.nn.frames import as_float
from dynarium.training.trackers import Tracker
from dynarium.types import SequenceBatch

SHOWN = 8
"""Sequences in a picture."""


class MediaCallback:
    """Shows fixed validation sequences: truth, reconstruction, imputation of a hidden block, mixture weights over time.

    Args:
        batch: The sequences to show.
        observe: Frames given before the hidden block, which ends at the last quarter.
    """

    def __init__(self, batch: SequenceBatch, observe: int = 4) -> None:
        self.batch, self.observe = batch, observe

    @torch.no_grad()
    def __call__(self, model: nn.Module, trackers: list[Tracker], step: int) -> None:
        """Log the media of a model in eval mode."""
        device = next(model.parameters()).device
        batch = self.batch.to(device)
        if batch.video is None:
            return
        truth = as_float(batch.video)
        shown = {"val/orig": truth}
        if isinstance(model, Reconstructs):
            shown["val/recon"] = model.reconstruct(batch)
        if isinstance(model, Imputes):
            b, t = batch.video.shape[:2]
            mask = torch.ones(b, t, dtype=torch.bool, device=device)
            mask[:, min(self.observe, t - 1) : max(t - t // 4, self.observe + 1)] = False
            shown["val_imputation/observed"] = truth * mask[:, :, None, None, None]
            for name, frames in model.impute(replace(batch, mask=mask)).items():
                shown[f"val_imputation/{name}"] = frames
        films = {f"{name}/sequences": _grid(frames) for name, frames in shown.items()}
        pictures = {f"{name}/first": _row(frames[:, 0]) for name, frames in shown.items() if name.startswith("val/")}
        if isinstance(model, Encodes) and "weights" in (encoded := model.encode(batch)):
            pictures["val/mixture_weights"] = _heat(encoded["weights"][0])
        for tracker in trackers:
            for name, film in films.items():
                tracker.video(name, film, step)
            for name, picture in pictures.items():
                tracker.image(name, picture, step)


def _bytes(frames: Tensor) -> np.ndarray:
    array = (frames.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return np.repeat(array, 3, -3) if array.shape[-3] == 1 else array


def _row(frames: Tensor) -> np.ndarray:
    """Put frames [b, c, h, w] side by side, [h, b w, c]."""
    return np.concatenate(list(np.moveaxis(_bytes(frames[:SHOWN]), 1, -1)), axis=1)


def _grid(frames: Tensor) -> np.ndarray:
    """Put sequences [b, t, c, h, w] side by side, [t, h, b w, c]."""
    return np.concatenate(list(np.moveaxis(_bytes(frames[:SHOWN]), 2, -1)), axis=2)


def _heat(weights: Tensor, size: int = 12) -> np.ndarray:
    """Draw weights [t, k] as a heat map, one row a mode."""
    shade = _bytes(weights.T[None])[0].repeat(size, 0).repeat(size, 1)
    return np.repeat(shade[..., None], 3, -1)
