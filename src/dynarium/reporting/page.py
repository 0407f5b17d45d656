"""The page around the report's sections: one file, no network, light and dark, phone and desktop."""

from importlib.resources import files

from dynarium.reporting.html import Html, join, tag

CLASSES = "".join(f".{kind}{i}{{color:var(--{kind}{i})}}" for kind, n in (("c", 9), ("t", 10)) for i in range(n))
"""A class for each colour: shapes are drawn in ``currentColor``."""


def stylesheet(*names: str) -> str:
    """Return the style sheets of these names and the colour classes as one."""
    folder = files("dynarium.reporting")
    return "".join(folder.joinpath(f"{name}.css").read_text(encoding="utf-8") for name in names) + CLASSES


def page(title: str, body: Html) -> str:
    """Return the whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(stylesheet("palette", "style", "drawing"))),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en") + "\n"


def section(anchor: str, title: str, *content: Html | None) -> Html:
    """Return a section with its heading."""
    return tag("section", tag("h2", title), join(*content), id=anchor)
