"""What the benchmarks share: where the reference data lies, what machine this is, tables in Markdown."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.graph import parse_graph
from netc.compiler.graph.builder import Rewriter
from netc.compiler.graph.ir import Graph
from netc.runtime.data.folder import data_folder

NETS = (
    "mlp_mnist",
    "cnn_mnist",
    "cnn_cifar",
    "vgg19",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "efficientnet_edgetpu_s",
)
"""The nets that are compared with PyTorch."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of options whose help begins with the script's own description."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def beside_data(*parts: str) -> Path:
    """A file or folder beside the data folder (see NETC_DATA); ends the script if there is none."""
    try:
        path = data_folder().parent.joinpath(*parts)
    except NetcError as error:
        raise SystemExit(str(error)) from None
    if not path.exists():
        raise SystemExit(f"there is no {path}; say where it is by an option, or by NETC_DATA for all of them")
    return path


def load_module(path: Path) -> ModuleType:
    """Run a Python file that isn't installed."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_float64(graph: Graph) -> Graph:
    """The same graph with all floats in double precision."""
    return parse_graph(str(graph).replace("f32[", "f64["))


def without_dropout(graph: Graph) -> Graph:
    """The same graph with nothing dropped in training."""
    b = Rewriter(graph)
    for op in graph.operations:
        if op.name == "dropout":
            b.replace(op.result, b[op.operands[0]])
        else:
            b.copy(op)
    return b.close()


def setting(*packages: str) -> str:
    """The circumstances of a measurement in one line: day, machine, versions."""
    parts = [
        datetime.date.today().isoformat(),
        f"{_processor()} ({host_target().cpu})",
        f"{len(os.sched_getaffinity(0))} cores",
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in ("netc", "numpy", "llvmlite", *packages)),
    ]
    return ", ".join(parts)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
