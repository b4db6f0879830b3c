"""Text and foreign formats in, graph out.

`load_network` is the way in; `check` finds everything that is wrong with a file; `parse` gives the syntax tree.
"""

from .diagnostics import SourceError, render, to_json
from .formats import FORMATS, Choices, Format, format_of
from .index import shipped_nets
from .loading import (
    check,
    check_text,
    load_loss,
    load_network,
    load_recipe,
    load_recipes,
    load_text,
    locate,
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
