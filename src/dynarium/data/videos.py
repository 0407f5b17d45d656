"""Videos of one's own: folders of numbered frames, GIFs, ``.npy`` files, one for each video; and KTH, which is kept so."""

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from dynarium.data.schema import SPLITS
from dynarium.data.streamed import Sequences
from dynarium.errors import UserError

FRAMES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
WHOLE = (".gif", ".npy")
CHANNELS = 4
"""The most that a frame may have: an axis that is longer is another one."""
KTH_CLIP = 40
"""Frames of a clip of KTH where nothing else is asked for: the length of the published test clips."""
KTH_TRAIN = range(1, 21)
"""Persons for training; the others, 21 to 25, are for test (Denton & Fergus 2018)."""
ACTIVITIES = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")


class Video(NamedTuple):
    """One video: its frames in order, or the file that holds them all."""

    name: str
    files: tuple[Path, ...]
    frames: int


class Clip(NamedTuple):
    """Frames ``start`` .. ``stop`` of a video."""

    video: Video
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """How frames are brought to one look.

    Attributes:
        size: Height and width in pixels; ``None``: as they are, which must be the same for all.
        channels: 1: grey; 3: colours; ``None``: as they are, but grey if all three channels of the first clip are equal. Two or
            four channels are never made into others.
    """

    size: int | None = None
    channels: int | None = None


def find_videos(folder: Path, size: int | None = None) -> list[Video]:
    """Find the videos of a folder and its subfolders in natural order: GIFs, ``.npy`` files, and folders with frames.

    Of frames that are there in several sizes, as ``image-001_64x64.png`` and ``image-001_32x32.png``, those of ``size`` count.

    Raises:
        UserError: A file is damaged.
    """
    if folder.is_file():
        return [Video(folder.stem, (folder,), _count(folder))]
    found: dict[str, Video] = {}
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        files = sorted((file for file in place.iterdir() if file.is_file()), key=lambda file: _natural(file.name))
        frames = tuple(file for file in files if file.suffix.lower() in FRAMES)
        frames = tuple(file for file in frames if file.stem.endswith(f"_{size}x{size}")) or frames
        name = place.relative_to(folder).as_posix()
        if frames:
            found[name] = Video(name, frames, len(frames))
        for file in files:
            if file.suffix.lower() in WHOLE:
                found[f"{name}/{file.name}"] = Video(f"{name}/{file.name}", (file,), _count(file))
    return [found[name] for name in sorted(found, key=_natural)]


def video_sequences(
    folder: Path,
    *,
    split: str | None,
    fractions: Mapping[str, float],
    seed: int,
    clip: int | None = None,
    look: Look = Look(),
) -> Sequences:
    """Return the videos as sequences, or clips of them.

    Splits are the folders ``train``, ``val`` and ``test``, if there are any; else videos are dealt out at random, all clips
    of a video into one split. Where every video is called ``person01_boxing_d1`` and the like, it is KTH: persons 1 to 20 are
    for training and 21 to 25 for test, frames are grey, clips have 40 frames, ``person`` and ``activity`` are kept, and if
    there is the list ``00sequences.txt`` of the set, clips lie within its ranges, where somebody is to be seen.

    Args:
        folder: The folder, or a single GIF.
        split: Put all into this split.
        fractions: Share of each split where they are dealt out.
        seed: Of that dealing.
        clip: Cut videos into clips of so many frames, one after the other, and leave out what is shorter. Else a video is a
            sequence, and the shorter ones are padded with their last frame, which ``length`` says.
        look: Size and channels.

    Raises:
        UserError: There is no video of that length, frames cannot be read or differ in size, or a video of KTH is there twice.
    """
    for name, value, what in (("clip", clip, "frame"), ("size", look.size, "pixel")):
        if value is not None and value < 1:
            raise UserError(f"{name}: expected at least 1 {what}, got {value}")
    videos = find_videos(folder, look.size)
    kth = bool(videos) and all(_person(video) for video in videos)
    ranges: dict[str, list[tuple[int, int]]] = {}
    if kth:
        _check_once(videos)
        clip, look, ranges = clip or KTH_CLIP, Look(size=look.size, channels=look.channels or 1), _seen(folder)
    if not videos:
        raise UserError(f"{folder}: expected folders of frames ({', '.join(FRAMES)}), GIFs or .npy files; found none")
    steps = clip or max(video.frames for video in videos)
    table: dict[str, list[Clip]] = {}
    for video, part in zip(videos, _parts(videos, split, kth, dict(fractions), seed), strict=True):
        table.setdefault(part, []).extend(_clips(video, clip, ranges.get(Path(video.name).name)))
    if not any(table.values()):
        longest = max(video.frames for video in videos)
        raise UserError(f"clip: expected at most the {longest} frames of the longest video, got {clip}")
    first = next(one for clips in table.values() for one in clips)
    _, height, width, channels = _frames(first, look).shape
    look = Look(size=look.size, channels=channels)
    padded = any(one.stop - one.start < steps for clips in table.values() for one in clips)

    def read(split: str, start: int, stop: int) -> dict[str, np.ndarray]:
        chosen = table[split][start:stop]
        shown = np.empty((len(chosen), steps, height, width, channels), np.uint8)
        for out, one in zip(shown, chosen, strict=True):
            frames = _frames(one, look)
            if frames.shape[1:3] != (height, width):
                raise UserError(
                    f"{one.video.name}: expected frames of {width} x {height} px as in {first.video.name}, got "
                    f"{frames.shape[2]} x {frames.shape[1]}; a size (--size) makes them alike"
                )
            out[: len(frames)], out[len(frames) :] = frames, frames[-1]
        fields = {"video": np.moveaxis(shown, -1, 2)}
        if padded:
            fields["length"] = np.array([one.stop - one.start for one in chosen])
        if kth:
            said = np.array([_person(one.video) for one in chosen], np.uint8)
            fields["person"], fields["activity"] = said.T
        return fields

    sizes = {split: len(table[split]) for split in SPLITS if table.get(split)}
    return Sequences(sizes=sizes, read=read, files=[file for video in videos for file in video.files])


def _parts(videos: list[Video], split: str | None, kth: bool, fractions: dict[str, float], seed: int) -> list[str]:
    """Return the split of each video."""
    if split is not None:
        return [split] * len(videos)
    if kth:
        return ["train" if person in KTH_TRAIN else "test" for person, _ in filter(None, map(_person, videos))]
    named = [next((part for part in Path(video.name).parts[:-1] if part in SPLITS), None) for video in videos]
    if all(named):
        return [str(part) for part in named]
    shares = np.array(list(fractions.values()))
    if abs(shares.sum() - 1) > 1e-6 or shares.min() < 0:
        raise UserError(f"fractions: expected shares that add up to 1, got {fractions}")
    bounds = np.rint(shares.cumsum() * len(videos))
    place = np.random.default_rng(seed).permutation(len(videos))
    return [list(fractions)[int(np.searchsorted(bounds, i, side="right"))] for i in place]


def _clips(video: Video, clip: int | None, ranges: list[tuple[int, int]] | None) -> list[Clip]:
    if clip is None:
        return [Clip(video, 0, video.frames)]
    cuts = [(start, min(stop, video.frames)) for start, stop in ranges or [(0, video.frames)]]
    return [Clip(video, at, at + clip) for start, stop in cuts for at in range(start, stop - clip + 1, clip)]


def _person(video: Video) -> tuple[int, int] | None:
    """Return person and activity by the name of a folder of KTH; ``None`` if it is none."""
    named = re.fullmatch(rf"person(\d+)_({'|'.join(ACTIVITIES)})_d\d.*", Path(video.name).name)
    return (int(named[1]), ACTIVITIES.index(named[2])) if named else None


def kth_labels(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``person`` and ``activity`` of the test set of KTH by the authors of SRVP, which says ``actions`` in words.

    Its ``persons`` are numbers, or words such as ``person21``; of arrays of other words nothing is returned.
    """
    actions, persons = (arrays.get(name, np.zeros(0)) for name in ("actions", "persons"))
    if actions.dtype.kind != "U" or not set(actions.flat) <= set(ACTIVITIES):
        return {}
    labels = {"activity": np.array([ACTIVITIES.index(word) for word in actions.flat], np.uint8)}
    numbers = [re.fullmatch(r"(?:person)?(\d{1,2})", str(person)) for person in persons.flat]
    if numbers and all(numbers):
        labels["person"] = np.array([int(number[1]) for number in numbers if number], np.uint8)
    return labels


def _check_once(videos: list[Video]) -> None:
    """Refuse a video of KTH that is there twice, as where sets of two sizes lie beside each other."""
    known: dict[str, Video] = {}
    for video in videos:
        name = re.sub(r"(_d\d).*", r"\1", Path(video.name).name)
        if (other := known.setdefault(name, video)) is not video:
            raise UserError(
                f"{name}: expected it once, got {other.name} and {video.name}; import one of their folders alone"
            )


def _seen(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """Read the list of KTH that says in which frames, counted from 1, somebody is to be seen."""
    file = next(
        (place / "00sequences.txt" for place in (folder, folder.parent) if (place / "00sequences.txt").is_file()), None
    )
    lines = file.read_text(encoding="latin-1") if file else ""
    return {
        name: [(int(first) - 1, int(last)) for first, last in re.findall(r"(\d+)-(\d+)", listed)]
        for name, listed in re.findall(r"^(person\d+_\w+_d\d)\s+frames\s+(.*)$", lines, re.MULTILINE)
    }


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _count(file: Path) -> int:
    """Return the number of frames of a file."""
    if file.suffix.lower() == ".npy":
        return len(_array(file))
    with _opened(file) as picture:
        return getattr(picture, "n_frames", 1)


def _frames(clip: Clip, look: Look) -> np.ndarray:
    """Read the frames of a clip, [t, h, w, c]."""
    if clip.video.files[0].suffix.lower() == ".npy":
        found = _array(clip.video.files[0])[clip.start : clip.stop]
    elif clip.video.files[0].suffix.lower() == ".gif":
        found = _film(clip.video.files[0])[clip.start : clip.stop]
    else:
        found = [_picture(file) for file in clip.video.files[clip.start : clip.stop]]
    if len(sizes := sorted({frame.shape[:2] for frame in found})) > 1:
        got = " and ".join(f"{width} x {height}" for height, width in sizes)
        raise UserError(f"{clip.video.name}: expected frames of one size, got {got} px")
    channels = found[0].shape[2]
    if look.channels not in (None, channels) and {channels, look.channels} != {1, 3}:
        raise UserError(f"{clip.video.name}: expected {look.channels} channels, got {channels}")
    frames = np.stack([_shown(frame, look) for frame in found])
    alike = look.channels is None and channels == 3 and (frames == frames[..., :1]).all()
    return frames[..., :1] if alike else frames


def _shown(frame: np.ndarray, look: Look) -> np.ndarray:
    """Bring a frame [h, w, c] to one look; channels are resized one by one, since a fourth need not be an opacity."""
    if look.channels == 1 and frame.shape[2] == 3:
        frame = np.asarray(Image.fromarray(frame).convert("L"))[..., None]
    if look.size is not None and frame.shape[:2] != (look.size, look.size):
        wanted = look.size, look.size
        planes = [
            Image.fromarray(plane).resize(wanted, Image.Resampling.BILINEAR) for plane in np.moveaxis(frame, 2, 0)
        ]
        frame = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return np.repeat(frame, 3, axis=2) if look.channels == 3 and frame.shape[2] == 1 else frame


def _picture(file: Path) -> np.ndarray:
    """Read a picture [h, w, 3]; grey of 16 bits, or of floating point in [0, 1], is scaled to 8 bits."""
    with _opened(file) as picture:
        if picture.mode not in ("F", "I") and not picture.mode.startswith("I;"):
            return np.asarray(picture.convert("RGB"))
        values = np.asarray(picture, np.float64)
    if picture.mode == "I" or (picture.mode == "F" and not (values.min() >= 0 and values.max() <= 1)):
        got = "floating point" if picture.mode == "F" else "signed or 32-bit integers"
        raise UserError(
            f"{file}: expected 8 or 16 bits, or floating point in [0, 1], got {got}, {values.min():g} .. {values.max():g}"
        )
    grey = np.rint(values * 255 if picture.mode == "F" else values / 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@functools.lru_cache(maxsize=2)
def _film(file: Path) -> list[np.ndarray]:
    with _opened(file) as picture:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open a picture; its damage may show only where its pixels are read."""
    try:
        with Image.open(file) as picture:
            yield picture
    except Exception as error:  # what the decoders raise on damaged files is not a closed list
        raise UserError(f"{file} is not a picture, or not whole ({error})") from None


def _array(file: Path) -> np.ndarray:
    """Read a video of bytes, or of floating point in [0, 1], as bytes [t, h, w, c]."""
    try:
        array = np.load(file, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: damaged or not an .npy file ({error})") from None
    if 0 in array.shape:
        raise UserError(f"{file}: expected at least one frame, and none empty, got shape {array.shape}")
    if (video := channels_last(array)) is None:
        wanted = "one video [t, h, w], [t, h, w, c] or [t, c, h, w] with 1 to 4 channels"
        raise UserError(f"{file}: expected {wanted}, got shape {array.shape}")
    array = video
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "bf" or not (array.min() >= 0 and array.max() <= 1):
        raise UserError(f"{file}: expected bytes, or floating point in [0, 1], got {array.dtype}")
    return np.rint(np.asarray(array, np.float32) * 255).astype(np.uint8)


def channels_last(array: np.ndarray, second: Collection[int] = range(1, CHANNELS + 1)) -> np.ndarray | None:
    """Return one video as [t, h, w, c], given [t, h, w], [t, h, w, c] or [t, c, h, w]; ``None`` if it is none of these.

    A last axis of 1 to 4 are channels; where it is longer, a second axis of one of the lengths ``second``.
    """
    if array.ndim == 3:
        return array[..., None]
    if array.ndim != 4 or not (array.shape[3] <= CHANNELS or array.shape[1] in second):
        return None
    return array if array.shape[3] <= CHANNELS else np.moveaxis(array, 1, 3)
