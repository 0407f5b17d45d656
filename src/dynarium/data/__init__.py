"""Datasets on disk and batches in memory: format v1, generation, loading, imports and exports."""

from dynarium.data.dataset import Dataset
from dynarium.data.episodes import EpisodeConfig, EpisodeSource, few_shot_batches
from dynarium.data.exports import export_dataset
from dynarium.data.generate import make_dataset
from dynarium.data.imports import import_file
from dynarium.data.measured import holds_signals, import_measured
from dynarium.data.schema import STEPPED
from dynarium.data.source import OnlineSource, Source, StoredSource
from dynarium.data.streams import StreamConfig, TaskStream
from dynarium.data.verify import verify
from dynarium.data.windows import Windows, WindowSource, export_windows
from dynarium.data.writer import write_arrays

__all__ = [
    "STEPPED",
    "Dataset",
    "EpisodeConfig",
    "EpisodeSource",
    "OnlineSource",
    "Source",
    "StoredSource",
    "StreamConfig",
    "TaskStream",
    "WindowSource",
    "Windows",
    "export_dataset",
    "export_windows",
    "few_shot_batches",
    "holds_signals",
    "import_file",
    "import_measured",
    "make_dataset",
    "verify",
    "write_arrays",
]
