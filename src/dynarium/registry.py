"""Registries for the places where users plug in: systems, models, tasks, recipes.

An entry is either an object or a lazy ``"module:attribute"`` string, so that listing names imports nothing heavy.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from dynarium.errors import UserError, nearest


class Registry:
    """Names to objects: a duplicate is an error, an unknown name is an error that says which is near, or lists all."""

    def __init__(self, kind: str, builtin: dict[str, str] | None = None) -> None:
        """Create a registry of ``kind`` (as it appears in messages) with lazy built-in entries."""
        self.kind = kind
        self._entries: dict[str, Any] = dict(builtin or {})

    def register(self, name: str, entry: Any) -> None:
        """Add an entry: the object itself, or ``"module:attribute"`` to import it when first asked for."""
        if name in self._entries:
            raise UserError(f"{self.kind} {name!r} is already registered")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            known = sorted(self._entries)
            near = nearest(name, known)
            listed = "" if near and len(known) > 20 else f"; known: {', '.join(known)}"
            raise UserError(f"unknown {self.kind} {name!r}{near}{listed}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def name_of(self, target: Any) -> str:
        """Return the name under which ``target`` is registered."""
        for name, entry in self._entries.items():
            if entry is target or entry == f"{target.__module__}:{target.__qualname__}":
                return name
        raise KeyError(target)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries
