"""Registries: lazy entries, duplicates, unknown names."""

import fractions

import pytest

from dynarium.errors import UserError, nearest
from dynarium.registry import Registry


@pytest.fixture
def registry():
    return Registry("shape", {"fraction": "fractions:Fraction", "broken": "no_such_module_anywhere:X"})


def test_an_entry_is_imported_when_it_is_first_asked_for(registry):
    assert list(registry) == ["broken", "fraction"]  # listing imports nothing: "broken" does no harm
    assert "broken" in registry
    assert registry["fraction"] is fractions.Fraction


def test_register_and_name(registry):
    registry.register("int", int)
    assert registry["int"] is int
    assert registry.name_of(int) == "int"
    assert registry.name_of(fractions.Fraction) == "fraction"  # before it was imported through the registry
    with pytest.raises(KeyError):
        registry.name_of(float)


def test_a_duplicate_is_refused(registry):
    with pytest.raises(UserError, match="shape 'fraction' is already registered"):
        registry.register("fraction", int)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(registry):
    with pytest.raises(
        UserError, match=r"^unknown shape 'fracton' \(did you mean 'fraction'\?\); known: broken, fraction$"
    ):
        registry["fracton"]


def test_nearest_stays_silent_when_nothing_is_near():
    assert nearest("zzz", ["fraction"]) == ""
    assert nearest("steps", ("step", "training")) == " (did you mean 'step'?)"


def test_built_in_entries_are_copied():
    builtin = {"a": "fractions:Fraction"}
    Registry("shape", builtin).register("b", 1)
    assert builtin == {"a": "fractions:Fraction"}
