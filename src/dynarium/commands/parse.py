"""Parse the arguments of a command: whatever is wrong with them is one line."""

from collections.abc import Sequence
from typing import Literal, TypeVar, overload

from dynarium.config import parse_arguments

Backend = Literal["loky", "dask", "ray"]
"""As ``dynarium.data.jobs.Backend``, which ``--help`` must not import."""

T = TypeVar("T")


@overload
def parse(
    options: type[T], arguments: Sequence[str], prog: str, allow_unknown: Literal[True]
) -> tuple[T, list[str]]: ...
@overload
def parse(options: type[T], arguments: Sequence[str], prog: str, allow_unknown: Literal[False] = False) -> T: ...
def parse(
    options: type[T], arguments: Sequence[str], prog: str, allow_unknown: bool = False
) -> T | tuple[T, list[str]]:
    """Build ``options`` from ``arguments``; ``--help`` prints and exits with 0.

    Args:
        options: A dataclass; the docstrings of its fields are the help.
        arguments: The words after the command's name.
        prog: The command's name, e.g. ``dynarium train``.
        allow_unknown: Return options that ``options`` does not have instead of refusing them.

    Returns:
        The options; with ``allow_unknown`` also the unknown options, each with the words that follow it.

    Raises:
        UserError: An unknown option (the nearest is named), a missing argument or a value of the wrong type.
    """
    return parse_arguments(options, arguments, prog, allow_unknown=allow_unknown)
