"""``dynarium data``: make, look at, check, import and export datasets."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import tyro

from dynarium.commands.parse import Backend, parse
from dynarium.errors import UserError

if TYPE_CHECKING:
    from dynarium.data import Dataset

WorldT = TypeVar("WorldT")


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the worlds that can be made: name, steps x time step, what it is."""


def list_worlds(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data list``."""
    parse(ListOptions, arguments, prog)

    from dynarium.systems import WORLDS, families, summary

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for family, names in families().items():
        print(f"{family}:")
        wide = max(map(len, names))
        for name in names:
            world = WORLDS[name]()
            size = f"{world.steps} x {world.dt:g}"
            line = f"  {name:{wide}}  {size:>12}  {summary(WORLDS[name]).replace('``', '')}"
            print(
                line
                if columns is None or len(line) <= columns
                else f"{line[: columns - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
            )


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """Make a dataset of a world.

    The world's own options follow with --world., e.g. ``--world.side 64`` (``--help-world`` lists them). An interrupted job
    is taken up again by the same command. The bytes are the same for any number of workers and any backend.
    """

    world: Annotated[str, tyro.conf.Positional]
    """Name of the world (see dynarium data list)."""
    dynamics: int | None = None
    """Take the set of so many dynamics of the world, e.g. gravity --dynamics 16 for gravity-16."""
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
    backend: Backend = "loky"
    """This machine, or a Dask or Ray cluster that shares the file system."""
    scheduler: str | None = None
    """Address of the cluster; without it a local one is started."""
    shard_size: int | None = None
    """Sequences of a shard, a multiple of 256; default: about 512 MB, and at least one shard a worker."""
    export_layout: Literal["original"] | None = None
    """Write the dataset in this layout too, beside it in OUT-original (see dynarium data export)."""
    alias: str | None = None
    """A second name of that layout's folders dataset_i, before the number: training codes look for grav_ or mixed_."""
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
    if strange := [word for word in dotted if word.startswith("--") and not word.startswith("--world")]:
        parse(MakeOptions, [options.world, *strange], prog)  # says which option is near

    from dynarium import config
    from dynarium.data import export_dataset, make_dataset
    from dynarium.systems import SIZES, WORLDS

    name = options.world if options.dynamics is None else _set_of(options.world, options.dynamics)
    dotted = ["--help"] if options.help_world else dotted
    chosen = config.resolve(Chosen(world=WORLDS[name]()), arguments=dotted, prog=f"{prog} {name}")
    published = SIZES.get(name, (5000, 500, 1000))
    asked_sizes = {"train": options.train, "val": options.val, "test": options.test}
    out = options.out or Path("datasets") / name
    exported = out.with_name(f"{out.name}-{options.export_layout}")
    if options.alias is not None and not options.export_layout:
        raise UserError("--alias: names the folders of --export-layout original")
    if options.alias is not None and len(getattr(chosen.world, "worlds", ())) < 2:
        raise UserError(f"--alias: names the folders of a set of several dynamics, which {name} is not")
    if options.export_layout and exported.exists() and not options.force:
        raise UserError(f"{exported}: exists already; --force replaces it")
    dataset = make_dataset(
        chosen.world,
        out,
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
    if options.export_layout:
        export_dataset(dataset.directory, exported, options.export_layout, alias=options.alias, force=options.force)
        print(f"written: {exported}")


def _set_of(world: str, dynamics: int) -> str:
    """Return the name of the set of so many dynamics of a world.

    Raises:
        UserError: There is no such set.
    """
    from dynarium.systems import WORLDS

    sets = {int(rest): name for name in WORLDS if (rest := name.removeprefix(f"{world}-")).isdecimal() and rest != name}
    _ = WORLDS[world]  # an unknown world is another mistake
    if not sets:
        raise UserError(f"--dynamics: there are no sets of several dynamics of {world}")
    if dynamics not in sets:
        known = ", ".join(map(str, sorted(sets)))
        raise UserError(f"--dynamics: there are sets of {known} dynamics of {world}, got {dynamics}")
    return sets[dynamics]


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Print fields, shapes, statistics and how the dataset was made."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""


def info(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data info``."""
    options = parse(InfoOptions, arguments, prog)

    from dynarium.commands.describe import field_lines, generator_lines
    from dynarium.data import Dataset

    schema = Dataset(options.directory).schema
    print(options.directory)
    splits = ", ".join(f"{split} {n} ({_shards(schema.shards[split])})" for split, n in schema.splits.items())
    print(f"{splits}; dt {schema.dt:g}; content {schema.content_hash[:16]}")
    print("\n".join(field_lines(schema)))
    seed = "" if schema.seed is None else f", seed {schema.seed}"
    print(f"made by dynarium {schema.code_version}, {schema.created}{seed}, from")
    print("\n".join(generator_lines(schema.generator)))


def _shards(sizes: Sequence[int]) -> str:
    return "1 shard" if len(sizes) == 1 else f"{len(sizes)} shards"


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Write a contact sheet (PNG) and an animation (GIF) of a few sequences; without frames, their curves (PNG).

    Of four channels the first three are shown as red, green and blue, the fourth is not; two are red and cyan.
    """

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""
    split: Literal["train", "val", "test"] | None = None
    """Split to show; default: the first."""
    sequences: int | None = None
    """How many sequences, at most 16; default: 8, or one of each task."""
    first: int = 0
    """Index of the first one."""
    out: Path | None = None
    """Folder of the pictures; default: the dataset's."""
    steps: int = 500
    """Steps of each sequence, at most: curves of thousands cannot be told apart."""
    fps: float | None = None
    """Frames per second of the animation; default: as fast as the world's clock, but 8 at least and 25 at most."""


def show(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data show``."""
    options = parse(ShowOptions, arguments, prog)

    from dynarium.data import Dataset

    dataset = Dataset(options.directory)
    split = options.split or next(iter(dataset.schema.splits))
    spec = dataset.schema.fields.get("task")
    wanted = options.sequences
    if wanted is None:  # tasks are dealt out in turn, so that neighbours differ
        wanted = 8 if spec is None else max(8, int(spec.statistics["max"][0]) + 1)
    if wanted < 1:
        raise UserError(f"--sequences: expected at least 1, got {wanted}")
    last = min(dataset.size(split), options.first + min(wanted, 16))
    if not 0 <= options.first < last:
        raise UserError(f"--first: expected 0 .. {dataset.size(split) - 1} for split {split!r}, got {options.first}")
    if options.fps is not None and not options.fps > 0:
        raise UserError(f"--fps: expected a positive number, got {options.fps:g}")
    if options.steps < 1:
        raise UserError(f"--steps: expected at least 1, got {options.steps}")
    folder = options.out or options.directory
    folder.mkdir(parents=True, exist_ok=True)
    steps = min(options.steps, dataset.steps)
    fps = min(25.0, max(8.0, 1 / dataset.schema.dt)) if options.fps is None else options.fps
    for file in _pictures(dataset, split, range(options.first, last), steps, folder, fps):
        print(f"written: {file}")
    if steps < dataset.steps:
        print(f"shown: the first {steps} of {dataset.steps} steps (--steps)")


def _pictures(dataset: "Dataset", split: str, index: range, steps: int, folder: Path, fps: float) -> list[Path]:
    """Draw the first steps of sequences: their frames as a sheet and a film; where there are none, their curves.

    Raises:
        UserError: The dataset has neither frames nor anything else that changes in time.
    """
    from dynarium.reporting.curves import curve_sheet
    from dynarium.reporting.pictures import animation, contact_sheet

    read = dataset.read(split, index, 0, steps)
    labels = [f"{i}" for i in index]
    if "task" in read:
        labels = [f"{i}: task {task}" for i, task in zip(index, read["task"].reshape(-1).tolist(), strict=True)]
    sheet = folder / f"{split}.png"
    if "video" in read:
        film = folder / f"{split}.gif"
        return [contact_sheet(read["video"], sheet, labels=labels), animation(read["video"], film, fps=fps)]
    fields = {name: read[name] for name in ("observation", "state", "action") if name in read}
    if not fields:
        raise UserError(f"{dataset.directory}: has nothing to show; it has {', '.join(dataset.shapes)}")
    names = {name: [word.split(" ")[0] for word in dataset.schema.fields[name].names] for name in fields}
    dt = dataset.schema.dt
    return [curve_sheet(fields, sheet, dt=dt, labels=labels, names=names, mode=read.get("mode"))]


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
    """Turn a foreign file into a dataset: .npz (images/state, image/state/label), .npy, .h5, or a folder of one a split.

    A folder of such folders (dataset_0, dataset_1, ... or grav_0, mixed_0, ...) becomes one dataset of several tasks. Videos
    are folders of numbered frames, GIFs or .npy files, one for each video, or KTH; .tfrecords are read as BAIR's. A single
    .npy is one video where it is [t, h, w], [t, h, w, c] or [t, 3, h, w], else [n, t, h, w] or [n, t, c, h, w]. A .mat, .csv
    or .npz file with inputs u and outputs y becomes one of sequences to identify, in the split test.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The file, or a folder with train.npz, val.npz, test.npz, or with such folders, one for each task; or of videos."""
    out: Path
    """Directory of the new dataset."""
    split: Literal["train", "val", "test"] | None = None
    """Put the whole file into this split; default: 80 % train, 10 % val, 10 % test at random."""
    binarize: bool = False
    """Frames become 0 or 255 by frame > 0, as the bouncing-ball experiments read them."""
    state_ahead: int = 0
    """Steps by which the states run ahead of the frames (1 in the original bouncing-ball files)."""
    time_first: bool = False
    """Arrays are [t, n, ...], as in the published test file of Moving MNIST."""
    clip: int | None = None
    """Cut videos into clips of so many frames; default: whole ones, padded to the longest (KTH: 40)."""
    size: int | None = None
    """Bring the frames of videos to so many pixels in height and width."""
    channels: Literal[1, 3] | None = None
    """1 makes videos grey, 3 gives them three channels; default: as they are, with two or four, too."""
    dt: float | None = None
    """Time between steps; default: what the file says (Ts, or t), else 1."""
    inputs: tuple[str, ...] = ()
    """Input arrays or columns of a .mat, .csv or .npz file; default: u, or u1, u2, ..."""
    outputs: tuple[str, ...] = ()
    """Its output arrays or columns; default: y, or y1, y2, ..."""
    layout: Literal["channels", "experiments"] = "channels"
    """What the columns of its arrays [steps, columns] are; experiments: one channel each, or [steps, channels, experiments]."""
    steps: int | None = None
    """Cut its records into sequences of so many steps; default: whole records."""
    seed: int = 0
    """Seed of the random split."""
    force: bool = False
    """Replace an existing dataset."""


def import_(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data import``."""
    options = parse(ImportOptions, arguments, prog)

    from dynarium.data import holds_signals, import_file, import_measured

    chosen: dict[str, Any] = dict(vars(options))
    file, out = chosen.pop("file"), chosen.pop("out")
    own = {name: chosen.pop(name) for name in ("inputs", "outputs", "steps")}
    layout = chosen.pop("layout")
    if any(own.values()) or layout != "channels" or holds_signals(file):
        if any(chosen.pop(name) for name in ("binarize", "state_ahead", "time_first", "clip", "size", "channels")):
            raise UserError(
                "--binarize, --state-ahead, --time-first, --clip, --size, --channels: are of frames, not of inputs and outputs"
            )
        own |= {"layout": layout, "dt": options.dt, "split": options.split, "force": options.force}
        dataset = import_measured(file, out, **own)
    else:
        chosen["dt"] = 1.0 if options.dt is None else options.dt
        dataset = import_file(file, out, **chosen)
    print(f"dataset: {dataset.directory}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write a dataset in another layout, one file a split."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory of the dataset."""
    out: Path
    """Folder of the files."""
    layout: Literal["npz", "npz-images", "npz-image-label", "hdf5", "original"] = "npz"
    """npz: all fields; npz-images: images and state; npz-image-label: image, state and label; hdf5: all fields;
    original: image, state and label in float64, the tasks of a set in folders dataset_0, dataset_1, ...; of a switching
    system the windows domains, queries, labels and latents."""
    alias: str | None = None
    """A second name of these folders, before the number: training codes look for grav_ or mixed_."""
    published_split: bool = False
    """Cut the windows of a switching system as published: one trajectory, neighbours on both sides of the split."""
    force: bool = False
    """Replace existing files."""


def export(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium data export``."""
    options = parse(ExportOptions, arguments, prog)

    from dynarium.data import export_dataset

    chosen: dict[str, Any] = dict(vars(options))
    for file in export_dataset(chosen.pop("directory"), chosen.pop("out"), **chosen):
        print(f"written: {file}")
