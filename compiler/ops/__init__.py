"""All operators and layers: a folder for each kind, a file for each family. Importing it fills the registry."""

import pkgutil
from importlib import import_module

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)
