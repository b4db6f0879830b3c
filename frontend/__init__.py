"""Text and foreign formats in, graph out.

`load_network` is the way in; `check` finds everything that is wrong with a file; `parse` gives the syntax tree. Names
are imported when they are first used: what runs a saved program asks for folders only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .diagnostics import SourceError, render, to_json
    from .formats import FORMATS, Choices, Format, format_of
    from .index import locate, shipped_nets
    from .loading import (
        check,
        check_text,
        load_loss,
        load_network,
        load_recipe,
        load_recipes,
        load_text,
    )
    from .parser import SyntaxTree
    from .parser import parse as parse_source
    from .roots import allowed_folders, allowing, models_folder
    from .settings import Recipe

assert __name__ == "netc.frontend", "import netc.frontend, not the folder `frontend` itself"

__all__ = [
    "FORMATS",
    "Choices",
    "Format",
    "Recipe",
    "SourceError",
    "SyntaxTree",
    "allowed_folders",
    "allowing",
    "check",
    "check_text",
    "format_of",
    "load_loss",
    "load_network",
    "load_recipe",
    "load_recipes",
    "load_text",
    "locate",
    "models_folder",
    "parse_source",
    "render",
    "shipped_nets",
    "to_json",
]

_HOMES = {
    "diagnostics": ("SourceError", "render", "to_json"),
    "formats": ("FORMATS", "Choices", "Format", "format_of"),
    "index": ("locate", "shipped_nets"),
    "loading": (*("check", "check_text", "load_loss", "load_network", "load_recipe", "load_recipes", "load_text"),),
    "parser": ("SyntaxTree",),
    "roots": ("allowed_folders", "allowing", "models_folder"),
    "settings": ("Recipe",),
}
"""The names that each module defines."""


def __getattr__(name: str) -> object:
    if name == "parse_source":
        return importlib.import_module(".parser", __name__).parse
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
