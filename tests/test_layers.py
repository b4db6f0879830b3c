"""The layers of the code: which part may import which. docs/architecture.md shows the same table."""

from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest
from test_packaging import ROOT, imports, sources

LEAVES = {
    "archives",
    "errors",
    "files",
    "numerics",
    "page",
    "patterns",
    "preprocess",
    "reading",
    "spec",
    "text",
    "types",
}
"""Modules of the compiler that know none of its parts."""
LAYERS = {
    "targets": set[str](),
    "loops": set[str](),
    "graph": {"loops"},
    "ops": {"graph", "loops"},
    "modules": {"graph", "loops"},
    "passes": {"graph", "ops"},
    "training": {"graph", "passes"},
    "quantization": {"graph", "ops", "passes", "training"},
    "tflite": {"graph", "ops", "passes"},
    "edgetpu": {"graph", "ops", "passes", "tflite"},
    "schedules": {"graph", "loops", "modules", "ops", "targets"},
    "codegen": {"loops", "modules", "targets"},
}
"""What each part of the compiler imports of the others."""


def edges() -> set[tuple[str, str]]:
    """(part, part that it imports) inside the compiler, imports for type checkers included."""
    found = set()
    for package, path in sources():
        parts = [*package.split("."), path.stem] if path.stem != "__init__" else package.split(".")
        if parts[:2] != ["netc", "compiler"] or len(parts) < 3:
            continue
        for name in imports(package, path):
            imported = name.split(".")
            if imported[:2] == ["netc", "compiler"] and len(imported) > 2 and imported[2] != parts[2]:
                found.add((parts[2], imported[2]))
    return found


def test_parts_import_what_they_may() -> None:
    found = edges()
    assert {edge for edge in found if edge[1] not in LEAVES} == {(a, b) for a, whole in LAYERS.items() for b in whole}
    assert {a for a, _ in found} | {b for _, b in found} == LAYERS.keys() | LEAVES


def test_there_is_no_circle() -> None:
    graph = nx.DiGraph(edges())
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


@pytest.mark.parametrize("part", ["loops", "graph", "ops", "schedules", "targets"])
def test_what_is_not_code_generation_imports_no_llvm(part: str) -> None:
    code = f"import sys, netc.compiler.{part}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "llvmlite" not in loaded.split()
