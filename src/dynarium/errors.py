"""What a user can get wrong, said in one line."""


class UserError(Exception):
    """Bad input. The message is one clear line: the argument, what was seen, what was wanted. The command exits with 2."""


class RunError(Exception):
    """A run cannot go on (its loss is not finite, say). The message is one line; the command exits with 1."""


def nearest(name: str, names: "list[str] | tuple[str, ...]") -> str:
    """Return ``' (did you mean X?)'`` for the name closest to ``name``, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
