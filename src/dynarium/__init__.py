"""dynarium: learn dynamics from what can be observed.

``import dynarium as dy`` is light: each public name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dynarium._version import __version__

_PUBLIC = {
    "SequenceBatch": "dynarium.types",
    "Trajectory": "dynarium.types",
    "Result": "dynarium.types",
    "Row": "dynarium.types",
    "UserError": "dynarium.errors",
    "WORLDS": "dynarium.systems",
    "MODELS": "dynarium.models",
    "TASKS": "dynarium.tasks",
    "RECIPES": "dynarium.recipes",
    "Dataset": "dynarium.data",
    "StoredSource": "dynarium.data",
    "OnlineSource": "dynarium.data",
    "make_dataset": "dynarium.data",
    "write_arrays": "dynarium.data",
    "import_file": "dynarium.data",
    "export_dataset": "dynarium.data",
    "Experiment": "dynarium.recipes",
    "train": "dynarium.recipes",
    "load_run": "dynarium.recipes",
    "write_report": "dynarium.reporting",
}

__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dynarium' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dynarium.models import MODELS as MODELS
    from dynarium.systems import WORLDS as WORLDS
    from dynarium.types import Result as Result
    from dynarium.types import Row as Row
    from dynarium.types import SequenceBatch as SequenceBatch
    from dynarium.types import Trajectory as Trajectory
