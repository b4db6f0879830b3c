"""netc: a graph compiler that takes a neural network from a small readable text to device code.

>>> import netc
>>> program = netc.compile("resnet50", weights="resnet50.safetensors", batch=1, threads=2)
>>> scores = program(image)  # float32 [1, 224, 224, 3] -> float32 [1, 1000]
>>> graph = netc.load("resnet50")
>>> print(netc.passes.run(graph, "fold-batch-norm,fuse"))

Names are imported when they are first used, so that `import netc` itself takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netc import passes, tflite
    from netc.calibration import calibrate
    from netc.compiler.errors import Diagnostic, Location, NetcError
    from netc.compiler.graph.ir import Graph
    from netc.compiler.graph.parser import parse_graph
    from netc.compiler.quantization import QuantizationWarning
    from netc.export import write_tflite
    from netc.frontend.pytorch import from_torch
    from netc.library import build_library, save_trained
    from netc.loading import load
    from netc.programs import compile  # noqa: A004 (the public name)
    from netc.quantization import quantize
    from netc.runtime.library import load_library
    from netc.runtime.program import Program
    from netc.runtime.saved import SavedProgram, load_program
    from netc.runtime.trainer import Trainer
    from netc.training import compile_training
    from netc.tuning.tune import tune

__all__ = [
    "Diagnostic",
    "Graph",
    "Location",
    "NetcError",
    "Program",
    "QuantizationWarning",
    "SavedProgram",
    "Trainer",
    "build_library",
    "calibrate",
    "compile",
    "compile_training",
    "from_torch",
    "load",
    "load_library",
    "load_program",
    "parse_graph",
    "passes",
    "quantize",
    "save_trained",
    "tflite",
    "tune",
    "write_tflite",
]

_HOMES = {
    "Diagnostic": "netc.compiler.errors",
    "Graph": "netc.compiler.graph.ir",
    "Location": "netc.compiler.errors",
    "NetcError": "netc.compiler.errors",
    "Program": "netc.runtime.program",
    "QuantizationWarning": "netc.compiler.quantization",
    "SavedProgram": "netc.runtime.saved",
    "Trainer": "netc.runtime.trainer",
    "build_library": "netc.library",
    "calibrate": "netc.calibration",
    "compile": "netc.programs",
    "compile_training": "netc.training",
    "from_torch": "netc.frontend.pytorch",
    "load": "netc.loading",
    "load_library": "netc.runtime.library",
    "load_program": "netc.runtime.saved",
    "parse_graph": "netc.compiler.graph.parser",
    "quantize": "netc.quantization",
    "save_trained": "netc.library",
    "tune": "netc.tuning.tune",
    "write_tflite": "netc.export",
}
"""The module that defines each public name."""


def __getattr__(name: str) -> object:
    if name in ("passes", "tflite"):
        return importlib.import_module(f"netc.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'netc' has no attribute {name!r}")
    from .collector import without_collections

    with without_collections(lasting=True):
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
