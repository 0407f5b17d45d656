"""``dynarium import``: a checkpoint of another code becomes a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dynarium.commands.parse import parse


@dataclass(frozen=True, kw_only=True)
class Options:
    """Turn a checkpoint of the original code of stochastic video generation into a run directory.

    Read are the files of train_svg_lp.py and train_svg_fp.py, and those of the fork for fabrics, pickled networks as well as
    state dicts; nothing that they name is executed. Then: ``dynarium evaluate RUN --data DATASET``, ``dynarium report RUN``.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The file, e.g. model.pth."""
    out: Path = Path("runs")
    """Folder of the run directories."""
    statistics: Literal["running", "batch"] = "running"
    """What batch normalisation uses: the averages of training, or the batch's own statistics, as the authors sampled."""
    skips: Literal["mended", "paper"] = "mended"
    """Skip connections after the context: those of its last frame, or those of the last but one, as the authors'."""


def import_(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium import``."""
    options = parse(Options, arguments, prog)

    from dynarium.recipes.svg_import import import_svg

    run = import_svg(options.checkpoint, options.out, statistics=options.statistics, skips=options.skips)
    print(f"run: {run.directory}")
