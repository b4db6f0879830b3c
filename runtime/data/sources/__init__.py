"""All kinds of data sources, a file for each; importing this package fills the registry."""

import pkgutil
from importlib import import_module

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
