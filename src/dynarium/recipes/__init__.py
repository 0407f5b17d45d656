"""Recipes: one function per experiment that returns a whole, typed configuration."""

from dynarium.registry import Registry

RECIPES = Registry(
    "recipe",
    {
        "kvae-demo": "dynarium.recipes.kvae:kvae_demo",
        "kvae-fraccaro2017": "dynarium.recipes.kvae:kvae_fraccaro2017",
        "kvae-annealed": "dynarium.recipes.kvae:kvae_annealed",
    },
)

PAPERS = Registry(
    "published table",
    {
        "kvae-fraccaro2017": "dynarium.recipes.kvae:FRACCARO2017",
        "kvae-annealed": "dynarium.recipes.kvae:ANNEALED",
    },
)
"""Recipe -> the rows its paper printed, with the method, metric and condition names of our own rows."""
