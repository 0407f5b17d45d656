"""Checkpoints: written beside, then renamed, so that there is always a whole one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dynarium.errors import RunError, UserError

WEIGHTS = "weights.safetensors"


def write_checkpoint(directory: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a folder, then put it in the place of ``directory``.

    Raises:
        RunError: It cannot be written, because the disk is full most of the time; what was in its place is whole.
    """
    partial, old = (directory.with_name(f".{directory.name}.{word}") for word in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write(partial)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError | RuntimeError | SafetensorError):
            words = " ".join(str(error).split())
            raise RunError(f"{directory}: cannot write the checkpoint; is the disk full? ({words})") from error
        raise
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    partial.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(checkpoints: Path, name: str) -> Path:
    """Return the folder of a checkpoint; its predecessor if a crash hit between the two renames.

    Raises:
        UserError: There is none.
    """
    for candidate in (checkpoints / name, checkpoints / f".{name}.old"):
        if candidate.is_dir():
            return candidate
    there = sorted(p.name for p in checkpoints.glob("[!.]*")) if checkpoints.is_dir() else []
    raise UserError(f"{checkpoints.parent}: has no checkpoint {name!r}; it has {', '.join(there) or 'none'}")


def save_weights(model: nn.Module, folder: Path, **about: Any) -> None:
    """Write the weights that are meant to be used, and a few words about them."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def load_weights(model: nn.Module, directory: Path, checkpoint: str = "best") -> None:
    """Load the weights of a run into a model.

    Raises:
        UserError: There is no such checkpoint, or it does not fit the model.
    """
    folder = find_checkpoint(Path(directory) / "checkpoints", checkpoint)
    try:
        with torch.no_grad():
            model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder / WEIGHTS}: does not fit the model ({' '.join(str(error).split())[:300]})") from None
