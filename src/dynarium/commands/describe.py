"""What a dataset holds and how it was made, as lines of text that fit a terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynarium.data.schema import Schema

ENTRIES = 32
"""Entries of a field that are listed; further ones are counted."""
KEYS = ("mean", "std", "min", "max")


def field_lines(schema: "Schema") -> Iterator[str]:
    """Yield a line for each field, and below it the statistics of its entries."""
    states = schema.fields["state"].names if "state" in schema.fields else ()
    names = {name: spec.names for name, spec in schema.fields.items()}
    names["derivative"] = tuple(f"d/dt {state.split(' ')[0]}" for state in states)
    yield " " * 30 + "".join(f"{key:>12}" for key in KEYS)
    for name, spec in schema.fields.items():
        count = len(spec.statistics["mean"])
        head = f"{name}  {spec.dtype} {spec.shape}"
        for i in range(min(count, ENTRIES)):
            numbers = "".join(f"{spec.statistics[key][i]:12.4g}" for key in KEYS)
            entry = names[name][i] if i < len(names[name]) else str(i)
            if count == 1 and len(head) <= 30:
                yield f"{head:30}{numbers}"
                continue
            if i == 0:
                yield head
            yield f"    {entry:26}{numbers}" if len(entry) <= 26 else f"    {entry}\n{'':30}{numbers}"
        if count > ENTRIES:
            yield f"    and {count - ENTRIES} more"


def generator_lines(generator: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of a world: of several worlds those they share, then in a line for each what sets it apart."""
    worlds = generator.get("worlds")
    if not isinstance(worlds, list):
        yield from _yaml(generator)
        return
    yield from _yaml({key: value for key, value in generator.items() if key != "worlds"})
    tasks = [_flat(world) for world in worlds]
    numbered = groupby(enumerate(tasks), key=lambda item: [v for k, v in item[1].items() if k.endswith("class")])
    for classes, group in numbered:
        mine = dict(group)
        first = next(iter(mine.values()))
        shared = {key for key, value in first.items() if all(task.get(key) == value for task in mine.values())}
        numbers = f"task {min(mine)}" if len(mine) == 1 else f"tasks {min(mine)} to {max(mine)}"
        yield f"{numbers}: {', '.join(classes)}"
        common = "; ".join(_option(key, first[key]) for key in first if key in shared and not key.endswith("class"))
        yield from textwrap.wrap(common, 100, initial_indent="    ", subsequent_indent="    ")
        for number, task in mine.items() if len(mine) > 1 else ():
            own = "; ".join(_option(key, value) for key, value in task.items() if key not in shared)
            yield f"  {number}: {own or 'the same'}"


def _yaml(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield YAML with every list on one line."""
    import yaml

    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:"
            yield from _yaml(value, indent + "  ")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            yield f"{indent}{key}: {text}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _option(key: str, value: Any) -> str:
    return f"{key} {'none' if value is None else value}"
