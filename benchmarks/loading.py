"""Windows per second from a memory-mapped dataset of 32x32 frames, T=20, uint8, with one prefetch thread.

    python benchmarks/loading.py [--sequences 5000] [--steps 100] [--batch 256]

Rows: whole sequences and random windows through ``StoredSource``, beside a loop that reads one sequence at a time from the
same memory map (what a map-style dataset with per-item access does) and PyTorch's ``DataLoader`` over it.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from dynarium.data import Dataset, StoredSource, write_arrays


class OneByOne(torch.utils.data.Dataset):
    """Random windows, one at a time."""

    def __init__(self, video: np.ndarray, steps: int) -> None:
        self.video, self.steps = video, steps
        self.first = np.random.default_rng(0).integers(0, video.shape[1] - steps + 1, len(video))

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.video[i, self.first[i] : self.first[i] + self.steps])


def rate(batches: Iterable[torch.Tensor], seconds: float = 2.0) -> float:
    """Return the windows per second that an endless loader gives after a first, untimed second."""
    start, n, warm = time.perf_counter(), 0, False
    for video in batches:
        if not warm and time.perf_counter() - start > 1:
            start, n, warm = time.perf_counter(), 0, True
        n += len(video)
        if warm and time.perf_counter() - start > seconds:
            break
    return n / (time.perf_counter() - start)


def endless(source: StoredSource) -> Iterable[torch.Tensor]:
    epoch = 0
    while True:
        for batch in source.batches(epoch):
            assert batch.video is not None
            yield batch.video
        epoch += 1


def repeated(loader: DataLoader) -> Iterable[torch.Tensor]:
    while True:
        yield from loader


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=100, help="length of the long sequences that windows are cut from")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print(
        f"{os.cpu_count()} cores, torch {torch.__version__}, {options.sequences} sequences, batches of {options.batch}"
    )
    print(f"{'windows of 20 frames, 32x32 uint8':<52} {'windows/s':>10} {'MB/s':>8}")

    def show(name: str, windows: float) -> None:
        print(f"{name:<52} {windows:>10,.0f} {windows * 20 * 1024 / 1e6:>8,.0f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("short", 20), ("long", options.steps)):
            video = random.integers(0, 2, (options.sequences, steps, 1, 32, 32), dtype=np.uint8) * 255
            write_arrays(Path(folder) / name, {"train": {"video": video}})
            del video
        short, long = Dataset(Path(folder) / "short"), Dataset(Path(folder) / "long")
        show("StoredSource, whole sequences", rate(endless(StoredSource(short, "train", batch_size=options.batch))))
        windows = StoredSource(long, "train", batch_size=options.batch, steps=20)
        show(f"StoredSource, random windows of {options.steps} frames", rate(endless(windows)))
        mapped = np.load(Path(folder) / "long" / "train" / "video-00000.npy", mmap_mode="c")
        one = OneByOne(mapped, 20)
        for workers in (0, 2):
            loader = DataLoader(one, batch_size=options.batch, shuffle=True, num_workers=workers)
            show(f"DataLoader, one window at a time, {workers} workers", rate(repeated(loader)))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB (memory maps included)")


if __name__ == "__main__":
    sys.exit(main())
