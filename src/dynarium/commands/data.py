"""``dynarium data``: make, look at, check, import and export datasets."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError

WorldT = TypeVar("WorldT")


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the worlds that can be made."""


def list_worlds(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data list``."""
    parse(ListOptions, arguments, prog)

    from rich.console import Console
    from rich.table import Column, Table

    from dynarium.systems import WORLDS

    table = Table(Column("world", no_wrap=True), "steps", "dt", "state", "what it is", box=None)
    for name in WORLDS:
        make = WORLDS[name]
        world = make()
        first = (make.__doc__ or "").strip().splitlines()[0].removeprefix("Return ").replace("``", "")
        state = f"{len(world.state_names)}: {', '.join(word.split(' ')[0] for word in world.state_names[:6])}"
        table.add_row(name, str(world.steps), f"{world.dt:g}", state, first[:1].upper() + first[1:])
    Console().print(table)


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """Make a dataset of a world.

    The world's own options follow with --world., e.g. ``--world.side 64`` (``--help-world`` lists them). An interrupted job
    is taken up again by the same command. The bytes are the same for any number of workers and any backend.
    """

    world: Annotated[str, tyro.conf.Positional]
    """Name of the world (see dynarium data list)."""
    out: Path | None = None
    """Directory of the dataset; default: datasets/WORLD."""
    train: int | None = None
    """Training sequences; default: as published, else 5000."""
    val: int | None = None
    """Validation sequences; default: as published, else 500."""
    test: int | None = None
    """Test sequences; default: as published, else 1000."""
    steps: int | None = None
    """Steps of each sequence; default: the world's."""
    seed: int = 0
    """Seed of everything."""
    workers: int = 1
    """Processes."""
    backend: Literal["loky", "dask", "ray"] = "loky"
    """This machine, or a Dask or Ray cluster that shares the file system."""
    scheduler: str | None = None
    """Address of the cluster; without it a local one is started."""
    shard_size: int | None = None
    """Sequences of a shard, a multiple of 256."""
    force: bool = False
    """Replace an existing dataset."""
    help_world: bool = False
    """List the options of the world."""


@dataclass(frozen=True, kw_only=True)
class Chosen(Generic[WorldT]):
    """The options of this world."""

    world: WorldT


def make(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data make``."""
    options, dotted = parse(MakeOptions, arguments, prog, allow_unknown=True)

    from dynarium import config
    from dynarium.data import make_dataset
    from dynarium.systems import SIZES, WORLDS

    dotted = ["--help"] if options.help_world else dotted
    chosen = config.resolve(Chosen(world=WORLDS[options.world]()), arguments=dotted, prog=f"{prog} {options.world}")
    published = SIZES.get(options.world, (5000, 500, 1000))
    asked_sizes = {"train": options.train, "val": options.val, "test": options.test}
    dataset = make_dataset(
        chosen.world,
        options.out or Path("datasets") / options.world,
        sizes={
            split: n if asked is None else asked
            for (split, asked), n in zip(asked_sizes.items(), published, strict=True)
        },
        steps=options.steps,
        seed=options.seed,
        workers=options.workers,
        backend=options.backend,
        scheduler=options.scheduler,
        shard_size=options.shard_size,
        force=options.force,
        progress=lambda done, total: print(f"made {done}/{total} sequences", file=sys.stderr, flush=True),
    )
    print(f"dataset: {dataset.directory}")


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Print fields, shapes, statistics and how the dataset was made."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""


def info(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data info``."""
    options = parse(InfoOptions, arguments, prog)

    import yaml
    from rich.console import Console
    from rich.table import Table

    from dynarium.data import Dataset

    schema = Dataset(options.directory).schema
    console = Console()
    splits = ", ".join(f"{split} {n} ({len(schema.shards[split])} shards)" for split, n in schema.splits.items())
    about = f"{options.directory}\n{splits}; dt {schema.dt:g}; content {schema.content_hash[:16]}"
    console.print(about, highlight=False, markup=False, soft_wrap=True)
    table = Table("field", "shape", "dtype", "entry", "mean", "std", "min", "max", box=None)
    for name, spec in schema.fields.items():
        statistics = spec.statistics
        for i in range(len(statistics["mean"])):
            first = (name, str(spec.shape), spec.dtype) if i == 0 else ("", "", "")
            numbers = (f"{statistics[key][i]:.4g}" for key in ("mean", "std", "min", "max"))
            table.add_row(*first, spec.names[i] if i < len(spec.names) else str(i), *numbers)
    console.print(table)
    made = f"by dynarium {schema.code_version}, {schema.created}" + (
        "" if schema.seed is None else f", seed {schema.seed}"
    )
    console.print(f"made {made}, from", highlight=False)
    console.print(yaml.safe_dump(schema.generator, sort_keys=False).rstrip(), highlight=False, markup=False)


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Write a contact sheet (PNG) and an animation (GIF) of a few sequences."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""
    split: Literal["train", "val", "test"] | None = None
    """Split to show; default: the first."""
    sequences: int = 8
    """How many sequences."""
    first: int = 0
    """Index of the first one."""
    out: Path | None = None
    """Folder of the pictures; default: the dataset's."""
    fps: float = 8.0
    """Frames per second of the animation."""


def show(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data show``."""
    options = parse(ShowOptions, arguments, prog)

    from dynarium.data import Dataset
    from dynarium.reporting.pictures import animation, contact_sheet

    dataset = Dataset(options.directory)
    split = options.split or next(iter(dataset.schema.splits))
    if options.sequences < 1:
        raise UserError(f"--sequences: expected at least 1, got {options.sequences}")
    last = min(dataset.size(split), options.first + options.sequences)
    if not 0 <= options.first < last:
        raise UserError(f"--first: expected 0 .. {dataset.size(split) - 1} for split {split!r}, got {options.first}")
    if "video" not in dataset.shapes:
        raise UserError(f"{options.directory}: has no field 'video' to show; it has {', '.join(dataset.shapes)}")
    video = dataset.read(split, range(options.first, last), fields=["video"])["video"]
    folder = options.out or options.directory
    folder.mkdir(parents=True, exist_ok=True)
    sheet, film = folder / f"{split}.png", folder / f"{split}.gif"
    contact_sheet(video, sheet)
    animation(video, film, fps=options.fps)
    print(f"written: {sheet}\nwritten: {film}")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Find truncated shards, wrong hashes and NaNs; exit status 1 if there are any."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""


def verify(arguments: Sequence[str], prog: str) -> int:
    """Parse and run ``dynarium data verify``."""
    options = parse(VerifyOptions, arguments, prog)

    from dynarium.data import verify as check

    problems = check(options.directory)
    print("\n".join(problems) or f"{options.directory}: whole")
    return 1 if problems else 0


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Turn a foreign file into a dataset: .npz (images/state, image/state/label), .npy, .h5, or a folder of one a split."""

    file: Annotated[Path, tyro.conf.Positional]
    """The file, or a folder with train.npz, val.npz, test.npz."""
    out: Path
    """Directory of the new dataset."""
    split: Literal["train", "val", "test"] | None = None
    """Put the whole file into this split; default: 80 % train, 10 % val, 10 % test at random."""
    binarize: bool = False
    """Frames become 0 or 255 by frame > 0, as the bouncing-ball experiments read them."""
    state_ahead: int = 0
    """Steps by which the states run ahead of the frames (1 in the original bouncing-ball files)."""
    dt: float = 1.0
    """Time between frames."""
    seed: int = 0
    """Seed of the random split."""
    force: bool = False
    """Replace an existing dataset."""


def import_(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data import``."""
    options = parse(ImportOptions, arguments, prog)

    from dynarium.data import import_file

    chosen: dict[str, Any] = dict(vars(options))
    dataset = import_file(chosen.pop("file"), chosen.pop("out"), **chosen)
    print(f"dataset: {dataset.directory}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write a dataset in another layout, one file a split."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""
    out: Path
    """Folder of the files."""
    layout: Literal["npz", "npz-images", "npz-image-label", "hdf5"] = "npz"
    """npz: all fields; npz-images: images and state; npz-image-label: image, state and label; hdf5: all fields."""
    force: bool = False
    """Replace existing files."""


def export(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data export``."""
    options = parse(ExportOptions, arguments, prog)

    from dynarium.data import export_dataset

    for file in export_dataset(options.directory, options.out, options.layout, force=options.force):
        print(f"written: {file}")
