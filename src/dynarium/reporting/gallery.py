"""The gallery of the documentation: every world with an animated strip, or its curves where it is not seen.

python -m dynarium.reporting.gallery docs
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynarium.data.generate import make_block
from dynarium.data.schema import STEPPED
from dynarium.reporting.curves import curve_sheet
from dynarium.reporting.pictures import gif_bytes, save
from dynarium.systems import SIZES, WORLDS, families, summary

SEQUENCES = 6
COLUMNS = 8
SAME_WORLD = "-original"
"""A published length of a world that is shown already."""
STEPS = 60
"""Steps of a strip; a longer sequence is cut."""

HEAD = """# Worlds

Made by `python -m dynarium.reporting.gallery docs`: the first training sequences of every world as `dynarium data make NAME`
makes them; of a set of several tasks, one of each. `dynarium data make NAME --help-world` lists the options of a world.
"""


def gallery(folder: Path) -> Path:
    """Write ``worlds.md`` and a picture of every world, ``images/worlds/NAME.gif`` or ``.png``, into ``folder``."""
    images = folder / "images" / "worlds"
    entries = []
    for family, names in families().items():
        shown = [name for name in names if not name.endswith(SAME_WORLD)]
        entries += [f"## {family}\n", *(_entry(name, WORLDS[name], images) for name in shown)]
    wanted = {
        line.split("/")[-1].rstrip(")") for entry in entries for line in entry.splitlines() if line.startswith("![")
    }
    for old in images.glob("*"):
        if old.name not in wanted:
            old.unlink()
    page = folder / "worlds.md"
    save(page, lambda file: file.write("\n".join([HEAD, *entries]).encode()))
    return page


def _entry(name: str, make: Any, images: Path) -> str:
    """Draw the picture of one world and return its part of the page."""
    world = make()
    steps, n = min(world.steps, STEPS), max(SEQUENCES, len(getattr(world, "worlds", ())))
    block = make_block(world, 0, "train", 0, world.steps)
    made = {field: array[:n, :steps] if field in STEPPED else array[:n] for field, array in block.items()}
    if "video" in made:
        picture = images / f"{name}.gif"
        fps = min(20.0, max(6.0, 1 / world.dt))
        data = gif_bytes(made["video"], fps=fps, size=64, sequences=n, columns=min(n, COLUMNS))
        save(picture, lambda file: file.write(data))
    else:
        picture = images / f"{name}.png"
        shown = ("action", "observation") if "observation" in made and "action" in made else ("state", "observation")
        fields = {field: made[field][:2] for field in shown if field in made}
        mode = made["mode"][:2] if "mode" in made else None
        curve_sheet(fields, picture, dt=world.dt, names={"state": world.state_names}, mode=mode)
    sizes = " / ".join(f"{n:,}" for n in SIZES.get(name, (5000, 500, 1000)))
    shapes = ", ".join(f"`{field}` {list(value.shape[1:])}" for field, value in made.items() if value.ndim > 1)
    cut = "" if steps == world.steps else f" (the strip shows {steps})"
    return (
        f"### {name}\n\n{summary(make)}\n\n![{name}](images/worlds/{picture.name})\n\n"
        f"{world.steps} steps of {world.dt:g}{cut}; {sizes} sequences; {shapes}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the gallery: the argument is the folder of the documentation."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) != 1:
        print("usage: python -m dynarium.reporting.gallery DOCS", file=sys.stderr)
        return 2
    print(f"wrote {gallery(Path(arguments[0]))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
