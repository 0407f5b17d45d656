"""Markup that cannot be broken by what is put into it: text is escaped unless it was made here."""

import base64
from html import escape

VOID = frozenset(
    {"img", "meta", "source", "br", "hr", "line", "rect", "circle", "path", "polyline", "polygon", "image"}
)
"""Elements that have no content; written with a slash, which HTML allows and SVG wants."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | int | None) -> Html:
    """Write one element.

    Args:
        name: The element's name.
        children: ``Html`` goes in as it is, any other text escaped, ``None`` not at all.
        attributes: A trailing underscore is dropped and others become hyphens (``class_``, ``stroke_width``); ``None``
            and ``False`` leave an attribute out, ``True`` writes its bare name. Values are escaped.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        written += f" {key}" if value is True else f' {key}="{escape(text)}"'
    if name in VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | None) -> Html:
    """Put pieces one after another, escaping those that are not markup."""
    return Html("".join(c if isinstance(c, Html) else escape(str(c)) for c in children if c is not None))


def data_uri(content: bytes, kind: str) -> str:
    """Return ``content`` as a ``data:`` address, so that the page loads nothing."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
