"""Datasets into other layouts: the original archives, HDF5, plain ``.npz``."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from dynarium.data.dataset import Dataset
from dynarium.data.hdf5 import h5py_for
from dynarium.data.original import Files, alias_folders, original_files, write_original
from dynarium.data.windows import export_windows
from dynarium.data.writer import atomic_write
from dynarium.errors import UserError

Layout = Literal["npz", "npz-images", "npz-image-label", "hdf5", "original"]


def export_dataset(
    directory: Path | str,
    out: Path | str,
    layout: Layout = "npz",
    *,
    alias: str | None = None,
    published_split: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write every split as one file and return the files.

    Layouts: ``npz``: all fields under their own names, compressed; ``npz-images``: ``images`` [n, t, h, w] float32 in
    [0, 1] (channels kept if there are several) and ``state``; ``npz-image-label``: ``image``, ``state``, ``label`` [n, 1];
    ``hdf5``: all fields, one sequence a chunk, compressed; ``original``: ``image`` float64, ``state``, ``label``, and for
    a dataset of several tasks one folder ``dataset_i`` each; of a switching system the windows of
    ``dynarium.data.export_windows``.

    Args:
        directory: The dataset.
        out: Folder of the files.
        layout: What they hold.
        alias: A second name of the folders ``dataset_i``, before the number: training codes look for ``grav_`` or ``mixed_``.
        published_split: Cut the windows of a switching system as published: one trajectory, training and test in turn.
        force: Replace existing files.

    Raises:
        UserError: A file exists (without ``force``), or the dataset lacks a field that the layout needs, or tasks to name.
    """
    dataset = Dataset(directory)
    out = Path(out)
    if layout == "original" and {"mode", "observation"} <= dataset.shapes.keys():
        split = "original" if published_split else "leak-free"
        return export_windows(dataset, out, Path(directory).name, layout=split, force=force)
    if published_split:
        raise UserError("published_split: only the layout 'original' of a switching system has one")
    suffix = "h5" if layout == "hdf5" else "npz"
    plan: Files = {out / f"{split}.{suffix}": (split, None) for split in dataset.schema.splits}
    plan = original_files(dataset, out) if layout == "original" else plan
    files = list(plan)
    folders = {file.parent for file in files} - {out}
    existing = [file for file in files if file.exists()]
    if existing and not force:
        raise UserError(f"{existing[0]}: exists already; --force replaces it")
    if layout not in ("npz", "hdf5") and "video" not in dataset.shapes:
        raise UserError(f"layout {layout}: needs the field 'video'; the dataset has {', '.join(dataset.shapes)}")
    if alias is not None and not folders:
        raise UserError(f"alias: only folders of tasks (layout 'original', several tasks) have one, got {alias!r}")
    if layout == "original":
        write_original(dataset, plan)
        if alias is not None:
            alias_folders(folders, alias)
        return files
    out.mkdir(parents=True, exist_ok=True)
    for split, file in zip(dataset.schema.splits, files, strict=True):
        arrays = _arranged(dataset.read(split, range(dataset.size(split))), layout)
        if layout == "hdf5":
            _write_hdf5(file, arrays, dataset)
        else:
            save: Callable[..., None] = np.savez_compressed if layout == "npz" else np.savez
            atomic_write(file, lambda stream, arrays=arrays, save=save: save(stream, **arrays))
    return files


def _arranged(arrays: dict[str, np.ndarray], layout: str) -> dict[str, np.ndarray]:
    if not layout.startswith("npz-"):
        return arrays
    video = arrays["video"]
    frames = (video[:, :, 0] if video.shape[2] == 1 else video).astype(np.float32) / 255
    states = {"state": arrays["state"]} if "state" in arrays else {}
    if layout == "npz-images":
        return {"images": frames, **states}
    task = arrays.get("task", np.zeros(len(video), dtype=np.int64))
    return {"image": frames, **states, "label": task.reshape(-1, 1).astype(np.int64)}


def _write_hdf5(file: Path, arrays: dict[str, np.ndarray], dataset: Dataset) -> None:
    h5py = h5py_for("writing")

    def write(stream: object) -> None:
        with h5py.File(stream, "w") as archive:
            archive.attrs["dt"] = dataset.schema.dt
            archive.attrs["content_hash"] = dataset.schema.content_hash
            for name, array in arrays.items():
                archive.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), compression="gzip")

    atomic_write(file, write)
