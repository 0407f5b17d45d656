"""The processes of a distributed run: who am I, who goes first, what do we agree on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

T = TypeVar("T")


def use_cpu() -> bool:
    """Return whether to stay on the CPU: asked for by ``ACCELERATE_USE_CPU``, or launched where there is no GPU."""
    launched = "LOCAL_RANK" in os.environ
    return parse_flag_from_env("ACCELERATE_USE_CPU") or (launched and not torch.cuda.is_available())


def rank_and_world() -> tuple[int, int]:
    """Return the index of this process and the number of processes (0 and 1 where nothing launched several)."""
    state = PartialState(cpu=use_cpu())
    return state.process_index, state.num_processes


def training_device() -> torch.device:
    """Return the device of this process: its GPU where there is one."""
    return torch.device(PartialState(cpu=use_cpu()).device or "cpu")


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run a block before the others."""
    with PartialState(cpu=use_cpu()).main_process_first():
        yield


def agreed(value: T) -> T:
    """Return the main process's value in every process."""
    if rank_and_world()[1] == 1:
        return value
    values = [value]
    broadcast_object_list(values)
    return values[0]
