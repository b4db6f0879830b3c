"""Text and foreign formats in, graph out.

`load_network` is the way in; `check` finds everything that is wrong with a file; `parse` gives the syntax tree.
"""

from .diagnostics import SourceError, render, to_json
from .formats import FORMATS, Choices, Format, format_of
from .loading import (
    available_models,
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
    "available_models",
    "check",
    "check_text",
    "format_of",
    "load_loss",
    "load_network",
    "load_recipe",
    "load_recipes",
    "load_text",
    "models_folder",
    "parse_source",
    "render",
    "to_json",
]
