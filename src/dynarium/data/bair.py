"""The robot pushing set of Ebert et al. 2017 (BAIR) as it is distributed: TFRecords of frames, actions and arm positions."""

from pathlib import Path

import numpy as np

from dynarium.data.schema import SPLITS
from dynarium.data.streamed import Sequences
from dynarium.data.tfrecords import Feature, Record, read_example, records
from dynarium.errors import UserError

SUFFIXES = (".tfrecords", ".tfrecord")


def bair_sequences(folder: Path, split: str | None = None, camera: str = "aux1") -> Sequences:
    """Return the sequences of ``softmotion30_44k/{train,test}/*.tfrecords``, or of any folder of such files.

    A record holds for each step t ``t/image_<camera>/encoded``, a square of red, green and blue bytes, ``t/action`` and
    ``t/endeffector_pos``. They become ``video``, ``action`` and ``state``. The sets are published as training and test; files
    in a folder of no such name are for training.

    Args:
        folder: The folder, or a single file.
        split: Put all into this split.
        camera: ``aux1``, the one that is used in the literature, or ``main``.

    Raises:
        UserError: There are no such files or records, or a damaged one.
    """
    files = [folder] if folder.is_file() else sorted(f for f in folder.rglob("*") if f.suffix in SUFFIXES)
    table: dict[str, list[Record]] = {}
    for file in files:
        named = next((part for part in reversed(file.parts[:-1]) if part in SPLITS), "train")
        table.setdefault(split or named, []).extend(records(file))
    table = {split: table[split] for split in SPLITS if table.get(split)}
    if not table:
        raise UserError(f"{folder}: expected .tfrecords files with at least one record")
    first = next(iter(table.values()))[0]
    steps = _steps(read_example(first), camera, first)

    def read(split: str, start: int, stop: int) -> dict[str, np.ndarray]:
        examples = [_arrays(record, steps, camera) for record in table[split][start:stop]]
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

    return Sequences(sizes={split: len(found) for split, found in table.items()}, read=read, files=files)


def _steps(example: dict[str, Feature], camera: str, record: Record) -> int:
    steps = 0
    while f"{steps}/image_{camera}/encoded" in example:
        steps += 1
    if not steps:
        some = ", ".join(sorted(example)[:3])
        raise UserError(f"{record.file}: expected features named 0/image_{camera}/encoded, ..., has {some}, ...")
    return steps


def _arrays(record: Record, steps: int, camera: str) -> dict[str, np.ndarray]:
    example = read_example(record)
    where = f"{record.file}: the record at byte {record.offset}"
    try:
        frames = [np.frombuffer(example[f"{t}/image_{camera}/encoded"][0], np.uint8) for t in range(steps)]
        action, state = (
            np.stack([np.asarray(example[f"{t}/{name}"], np.float32) for t in range(steps)])
            for name in ("action", "endeffector_pos")
        )
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{where} differs from the first one ({error})") from None
    side = round((len(frames[0]) / 3) ** 0.5)
    if any(len(frame) != 3 * side * side for frame in frames):
        raise UserError(f"{where}: expected frames of 3 side^2 bytes, got {sorted({len(frame) for frame in frames})}")
    video = np.stack(frames).reshape(steps, side, side, 3).transpose(0, 3, 1, 2)
    return {"video": video, "action": action, "state": state}
