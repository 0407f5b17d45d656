"""Which precision is faster here: measured, not guessed."""

import time
from typing import cast

import torch
from torch import nn

from dynarium.models.capabilities import Model
from dynarium.types import SequenceBatch

REPEATS = 4


def fastest_precision(model: nn.Module, batch: SequenceBatch) -> tuple[str, dict[str, float]]:
    """Time forward and backward of the loss in float32 and in bfloat16 autocast.

    Returns the faster one's name and the least seconds of each. Weights, gradients and random numbers stay as they were.
    """
    device = next(model.parameters()).device
    seconds: dict[str, float] = {}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for name in ("float32", "bfloat16"):
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                with torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
                    loss, _ = cast(Model, model).loss(batch, 0)
                loss.backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
                model.zero_grad()
            seconds[name] = min(times[1:])
    return min(seconds, key=seconds.__getitem__), seconds
