"""Configurations: frozen dataclasses to YAML and back, overlays, and dotted overrides on the command line.

A field whose declared type is open (a protocol, a type variable, ``Any``, a union) is written with a ``class`` key,
``module:Name``, so that a saved file alone re-creates the configuration.
"""

import contextlib
import dataclasses
import importlib
import io
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from dynarium.errors import UserError, nearest

T = TypeVar("T")


def to_dict(config: Any, declared: Any = Any) -> Any:
    """Turn a configuration into plain YAML-ready values; ``declared`` is the type the reader will expect."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = typing.get_type_hints(type(config))
        values = {f.name: to_dict(getattr(config, f.name), hints[f.name]) for f in dataclasses.fields(config) if f.init}
        is_open = declared is not type(config)
        return {"class": f"{type(config).__module__}:{type(config).__qualname__}", **values} if is_open else values
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [to_dict(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def from_dict(values: Any, declared: Any = Any, *, where: str = "config") -> Any:
    """Build a value of type ``declared`` from plain values; every error names the dotted path of the field.

    Raises:
        UserError: An unknown or missing key, or a value of the wrong type.
    """
    if isinstance(values, dict) and "class" in values:
        values = dict(values)
        declared = _open_class(values.pop("class"), declared, where)
    origin, arguments = typing.get_origin(declared) or declared, typing.get_args(declared)
    if dataclasses.is_dataclass(origin) and isinstance(origin, type):
        return _structure(values, origin, where)
    if origin in (tuple, list):
        return _sequence(values, origin, arguments, where)
    if origin is dict and isinstance(values, dict):
        kind = arguments[1] if arguments else Any
        return {key: from_dict(value, kind, where=f"{where}.{key}") for key, value in values.items()}
    if origin in (typing.Union, types.UnionType):
        return _union(values, arguments, where)
    if origin is typing.Literal:
        if values not in arguments:
            raise UserError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {values!r}")
        return values
    return _leaf(values, origin, where)


def _sequence(values: Any, kind: type, arguments: tuple[Any, ...], where: str) -> Any:
    if not isinstance(values, list | tuple):
        raise UserError(f"{where}: expected a list, got {values!r}")
    variadic = kind is list or (len(arguments) == 2 and arguments[1] is Ellipsis)
    kinds = [arguments[0]] * len(values) if variadic and arguments else list(arguments) or [Any] * len(values)
    if len(kinds) != len(values):
        raise UserError(f"{where}: expected {len(kinds)} values, got {len(values)}")
    return kind(from_dict(v, k, where=f"{where}[{i}]") for i, (v, k) in enumerate(zip(values, kinds, strict=True)))


def _open_class(name: Any, declared: Any, where: str) -> type:
    """Import the class that a section names; where its type is not open, it must be (one of) the declared."""
    module, _, attribute = str(name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}.class: cannot import {name!r} ({error})") from None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UserError(f"{where}.class: {name!r} is not a configuration class")
    members = [typing.get_origin(kind) or kind for kind in typing.get_args(declared) or (declared,)]
    is_open = any(
        kind in (Any, object) or getattr(kind, "_is_protocol", not isinstance(kind, type)) for kind in members
    )
    if not is_open and found not in members:
        raise UserError(f"{where}.class: expected {_names(members)}, got {name!r}")
    return found


def _structure(values: Any, declared: type, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a mapping of {declared.__name__} options, got {values!r}")
    hints = typing.get_type_hints(declared)
    names = [f.name for f in dataclasses.fields(declared) if f.init]
    for key in values:
        if key not in names:
            raise UserError(f"{where}.{key}: unknown option{nearest(str(key), names)}; {declared.__name__} has {names}")
    try:
        return declared(**{key: from_dict(value, hints[key], where=f"{where}.{key}") for key, value in values.items()})
    except TypeError as error:  # a required field is missing
        raise UserError(f"{where}: {error}") from None


def _union(values: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if type(values) in arguments:
        return values
    for kind in sorted(arguments, key=lambda kind: kind is str):  # a string accepts nearly anything: try it last
        with contextlib.suppress(UserError):
            return from_dict(values, kind, where=where)
    raise UserError(f"{where}: expected {_names(arguments)}, got {values!r}")


def _names(kinds: Sequence[Any]) -> str:
    return " or ".join("nothing" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds)


def _leaf(values: Any, declared: Any, where: str) -> Any:
    if declared is None or declared is type(None):
        if values is not None:
            raise UserError(f"{where}: expected nothing, got {values!r}")
        return None
    if declared is Path and isinstance(values, str):
        return Path(values)
    if declared in (float, int) and isinstance(values, int | float | str) and not isinstance(values, bool):
        with contextlib.suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-3 as text
            number = values if isinstance(values, int) else float(values)
            if declared is float or number == int(number):
                return declared(number)
    if isinstance(declared, type) and declared not in (object, Any):
        wrong = not isinstance(values, declared) or (isinstance(values, bool) and declared is not bool)
        if wrong and not getattr(declared, "_is_protocol", False):
            raise UserError(f"{where}: expected {declared.__name__}, got {values!r}")
    return values


def save(config: Any, path: Path) -> None:
    """Write a configuration as YAML, atomically."""
    import yaml

    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, width=120), encoding="utf-8")
    temporary.replace(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        UserError: The file is missing, is not YAML, or is not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--config {path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"--config {path}: expected a mapping of options, got {type(values).__name__}")
    return values


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; where a section names another ``class``, it replaces the old section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        same_class = (
            isinstance(value, dict) and isinstance(old, dict) and value.get("class") in (None, old.get("class"))
        )
        merged[key] = overlay(old, value) if same_class else value  # type: ignore[arg-type]
    return merged


def differences(made: Any, asked: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return dotted path, old and new value wherever plain values differ; what only one of them has is left out."""
    if isinstance(made, list) and isinstance(asked, list) and any(isinstance(value, dict) for value in asked):
        made, asked = ({str(i): value for i, value in enumerate(values)} for values in (made, asked))
    if not isinstance(made, dict) or not isinstance(asked, dict):
        return [] if made == asked else [(path, _shown(made), _shown(asked))]
    if made.get("class") != asked.get("class"):
        return [(path, _shown(made), _shown(asked))]
    common = ((f"{path}.{key}" if path else key, made[key], asked[key]) for key in made if key in asked)
    return [found for key, old, new in common for found in differences(old, new, key)]


def _shown(value: Any) -> Any:
    """Return a value, or of a section what it is called."""
    return str(value.get("class", "a section")).rpartition(":")[2] if isinstance(value, dict) else value


def resolve(default: T, files: Sequence[Path] = (), arguments: Sequence[str] = (), *, prog: str = "dynarium") -> T:
    """Return ``default`` under the YAML ``files`` (later wins) and then the dotted command-line ``arguments``.

    Raises:
        UserError: An unknown key or option (the nearest is named) or a value of the wrong type.
    """
    values = to_dict(default)
    for file in files:
        values = overlay(values, read_yaml(file))
    config = from_dict(values)
    if not arguments:
        return config
    return parse_arguments(_closed(type(config), config), arguments, prog, default=config)


def parse_arguments(
    kind: Any, arguments: Sequence[str], prog: str, *, default: Any = None, allow_unknown: bool = False
) -> Any:
    """Build a ``kind`` from command-line words; what they leave out is taken from ``default``.

    An option that may be of several classes is of another with ``--path.to.it.class NAME``; its own options then follow.

    Returns:
        The value; with ``allow_unknown`` also the list of the unknown options, each with the words that follow it.

    Raises:
        UserError: An unknown option (the nearest is named), a missing argument or a value of the wrong type.
    """
    import tyro

    if default is not None:
        default, arguments = _reclassed(default, arguments)
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff, tyro.conf.ConsolidateSubcommandArgs)
    markers += (tyro.conf.SuppressFixed,)  # what a command line cannot say is no option
    settings: dict[str, Any] = {} if default is None else {"default": default, "config": markers}
    _, refused = _call_tyro(kind, arguments, prog, return_unknown_args=True, **settings)
    strange = {word.partition("=")[0] for word in refused if word.startswith("--")}
    known, unknown = _split(arguments, strange)
    if unknown and not allow_unknown:
        name = unknown[0].partition("=")[0]
        raise UserError(f"{name}: unknown option{nearest(name, _options(kind, settings))}")
    value = _call_tyro(kind, known, prog, **settings)
    return (value, unknown) if allow_unknown else value


def _reclassed(default: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """Return ``default`` with the classes that ``--path.class NAME`` choose, and the other words."""
    words = [part for word in arguments for part in (word.split("=", 1) if ".class=" in word else [word])]
    for i in [i for i, word in enumerate(words) if word.startswith("--") and word.endswith(".class")][::-1]:
        path = words[i].removeprefix("--").removesuffix(".class").replace("-", "_").split(".")
        default = _with_class(default, path, words[i], words[i + 1] if i + 1 < len(words) else "")
        del words[i : i + 2]
    return default, words


def _with_class(value: Any, path: Sequence[str], option: str, name: str) -> Any:
    """Return a configuration whose field at ``path`` is of the class ``name``: its defaults, and what the words must say."""
    import tyro

    fields: list[str] = list(getattr(value, "__dataclass_fields__", {}))
    if path[0] not in fields:
        raise UserError(f"{option}: unknown option{nearest(path[0], fields)}")
    old = getattr(value, path[0])

    def changed(new: Any) -> Any:
        return dataclasses.replace(value, **{path[0]: new})

    declared = typing.get_type_hints(type(value))[path[0]]
    if len(path) > 1:
        return changed(_with_class(old, path[1:], option, name))
    choices: tuple[Any, ...] = typing.get_args(declared)
    members = {kind.__name__.lower(): kind for kind in choices if hasattr(kind, "__dataclass_fields__")}
    if name.lower() not in members and ":" not in name:
        wanted = ", ".join(members) or "module:Name"
        raise UserError(f"{option}: expected {wanted}, got {name or 'nothing'!r}")
    kind = members[name.lower()] if name.lower() in members else _open_class(name, declared, option.strip("-"))
    if type(old) is kind:
        return value
    kinds = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [f.name for f in dataclasses.fields(kind) if f.init and (f.default, f.default_factory) == kinds]
    try:
        return changed(kind(**dict.fromkeys(needed, tyro.MISSING)))
    except TypeError as error:
        raise UserError(f"{option}: {error}; a --config file can give it") from None


def _call_tyro(kind: Any, arguments: Sequence[str], prog: str, **settings: Any) -> Any:
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=list(arguments), prog=prog, **settings)
    except SystemExit as stop:
        if stop.code:
            raise UserError(_complaint(complaint.getvalue(), kind, prog)) from None
        raise  # --help


def _split(arguments: Sequence[str], strange: set[str]) -> tuple[list[str], list[str]]:
    """Split words into those of known options and those of strange ones: an option owns the words up to the next."""
    known: list[str] = []
    unknown: list[str] = []
    owner = known
    for word in arguments:
        if word.startswith("--"):
            owner = unknown if word.partition("=")[0] in strange else known
        owner.append(word)
    return known, unknown


def _options(kind: Any, settings: dict[str, Any]) -> list[str]:
    """Return the options that the help of ``kind`` lists."""
    import tyro

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"], **settings)
    return re.findall(r"^\W*?(--[\w.-]+)", text.getvalue(), flags=re.MULTILINE)


def _complaint(box: str, kind: Any, prog: str) -> str:
    """Reduce an error drawn as a titled box of sections to the words of its first section; name what is missing."""
    import tyro

    words: list[str] = []
    for line in box.strip().splitlines()[1:]:
        text = line.strip("│╰╯ ")
        is_rule = not text.strip("─-")
        if is_rule and words:
            break
        words += [] if is_rule else text.split()
    line = " ".join(words).replace(f"Missing from {prog}:", "missing")
    hints = typing.get_type_hints(typing.get_origin(kind) or kind, include_extras=True)
    names = [name for name, hint in hints.items() if tyro.conf.Positional in getattr(hint, "__metadata__", ())]
    # tyro calls a positional argument by its type.
    return re.sub(r"^missing (?!-)\S+", f"missing {names[0].upper()}:", line) if len(names) == 1 else line


def _closed(kind: Any, value: Any) -> Any:
    """Close a generic configuration over the classes its open fields really hold: tyro then sees their options."""
    parameters = getattr(kind, "__parameters__", ())
    if not parameters:
        return kind
    hints = typing.get_type_hints(kind)
    held = {
        hints[f.name]: _closed(type(v := getattr(value, f.name)), v)
        for f in dataclasses.fields(kind)
        if isinstance(hints[f.name], TypeVar)
    }
    return kind[tuple(held[p] for p in parameters)]
