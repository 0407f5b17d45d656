"""Weights that a user brings as files: read without running what is in them, and known by their hash."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dynarium.errors import UserError


def file_hash(path: str | Path, name: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        UserError: There is no such file; ``name`` is the option that asked for it.
    """
    try:
        with Path(path).expanduser().open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{name}: expected a file, got {str(path)!r} ({error.strerror})") from None


def read_weights(path: str | Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a state dict that ``torch.save`` wrote.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    try:
        found = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{name}: expected a file, got {str(path)!r} ({error.strerror})") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{name}: {path} is no state dict of torch.save ({reason})") from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{name}: expected a state dict of tensors in {path}, got a {type(found).__name__}")
    return dict(found)


def fill(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path, name: str) -> None:
    """Set all parameters of a module from a state dict, which may hold more than these.

    Raises:
        UserError: One is missing or of another shape.
    """
    wanted = module.state_dict()
    for key, value in wanted.items():
        if key not in weights:
            raise UserError(f"{name}: {path} lacks {key!r}; it has {', '.join(list(weights)[:4]) or 'nothing'}, ...")
        if weights[key].shape != value.shape:
            raise UserError(
                f"{name}: expected {key!r} of shape {tuple(value.shape)} in {path}, got {tuple(weights[key].shape)}"
            )
    module.load_state_dict({key: weights[key] for key in wanted})
