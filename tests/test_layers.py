"""The layers of the code: which part may import which. docs/architecture.md shows the same table."""

from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest

from tests.test_packaging import ROOT, imports, sources

LEAVES = {
    "archives",
    "arrays",
    "errors",
    "extras",
    "files",
    "image",
    "initial",
    "numerics",
    "page",
    "patterns",
    "permission",
    "precision",
    "preprocess",
    "published",
    "reading",
    "signature",
    "spec",
    "stored",
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
    "library": {"graph", "modules", "targets"},
    "passes": {"graph", "ops"},
    "training": {"graph", "ops", "passes"},
    "quantization": {"graph", "ops", "passes", "training"},
    "tflite": {"graph", "ops", "passes"},
    "edgetpu": {"graph", "ops", "passes", "tflite"},
    "lowering": {"graph", "loops", "modules", "targets"},
    "backends.backend": {"graph", "library", "lowering", "modules", "passes", "targets"},
    "backends.cpu.schedules": {"graph", "loops", "lowering", "ops", "targets"},
    "backends.cpu.codegen": {"library", "loops", "modules", "targets"},
    "backends.cpu": {
        *("backends.backend", "backends.cpu.codegen", "backends.cpu.schedules"),
        *("graph", "library", "lowering", "modules", "ops", "passes", "targets"),
    },
    "backends": {"backends.backend", "backends.cpu", "graph", "modules", "passes", "targets"},
}
"""What each part of the compiler imports of the others. A backend is a part, and so are the folders in it."""
RUNTIME_LEAVES = {"cache", "closing", "finite", "forks", "host", "image", "litert", "processor", "tensors"}
"""Modules of the runtime that know none of its parts."""
RUNTIME_LAYERS = {
    "data": {"cache", "weights"},
    "training": {"closing", "data", "finite", "tensors"},
    "evaluation": {"data", "parallel", "training"},
    "parallel": {"data", "host", "program", "session", "trainer", "training"},
    "session": {"forks", "host"},
    "callers": {"forks", "host", "session"},
    "direct": {"callers", "session"},
    "program": {"callers", "closing", "direct", "session"},
    "library": {"closing"},
    "saved": {"host", "image", "processor", "program"},
    "saved_weights": {"program", "saved"},
    "measure": {"program"},
    "trainer": {"closing", "data", "finite", "program", "weights"},
    "tuned": {"cache"},
    "weights": {"tensors"},
}
"""What each part of the runtime imports of the others."""


def part(name: list[str]) -> str:
    """The part of a module `netc.compiler. ...`, or of a name in it."""
    parts = [".".join(name[2:end]) for end in range(3, len(name) + 1)]
    return next((each for each in reversed(parts) if each in LAYERS), name[2])


def edges(package: str) -> set[tuple[str, str]]:
    """(part, part that it imports) inside "compiler" or "runtime", imports for type checkers included."""
    found = set()
    for home, path in sources():
        parts = [*home.split("."), path.stem] if path.stem != "__init__" else home.split(".")
        if parts[:2] != ["netc", package] or len(parts) < 3:
            continue
        for name in imports(home, path):
            imported = name.split(".")
            if imported[:2] == ["netc", package] and len(imported) > 2 and part(imported) != part(parts):
                found.add((part(parts), part(imported)))
    return found


def modules(package: str) -> set[tuple[str, str]]:
    """(module, module that it imports) inside a package, at any depth."""
    known = {f"{home}.{path.stem}" for home, path in sources() if home.startswith(f"netc.{package}")}
    return {
        (f"{home}.{path.stem}", module)
        for home, path in sources()
        for name in imports(home, path)
        for module in {name, name.rpartition(".")[0]} & known
        if f"{home}.{path.stem}" in known
    }


def test_parts_import_what_they_may() -> None:
    found = edges("compiler")
    assert {edge for edge in found if edge[1] not in LEAVES} == {(a, b) for a, whole in LAYERS.items() for b in whole}
    assert {a for a, _ in found} | {b for _, b in found} == LAYERS.keys() | LEAVES


def test_documentation_shows_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name, imported in LAYERS.items():
        parts = ", ".join(f"`{each}`" for each in LAYERS if each in imported)
        assert f"| `{name}` | {parts} |" in text


def test_parts_of_the_runtime_import_what_they_may() -> None:
    assert edges("runtime") == {(a, b) for a, whole in RUNTIME_LAYERS.items() for b in whole}
    parts = {path.stem for path in (ROOT / "runtime").iterdir() if not path.stem.startswith("__")}
    assert parts == RUNTIME_LAYERS.keys() | RUNTIME_LEAVES


@pytest.mark.parametrize("package", ["compiler", "runtime"])
def test_there_is_no_circle(package: str) -> None:
    graph = nx.DiGraph(edges(package))
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


ITS_OWN_TEXT = {("graph.ir", "graph.printer"), ("modules.module", "modules.printer")}
"""`str` of a graph and of a module is what the printer writes, which knows what it prints."""


@pytest.mark.parametrize("package", ["compiler", "runtime"])
def test_modules_import_in_no_circle(package: str) -> None:
    graph = nx.DiGraph(modules(package))
    own = [(a, b) for a, b in graph.edges if any(a.endswith(x) and b.endswith(y) for x, y in ITS_OWN_TEXT)]
    graph.remove_edges_from(own)
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


HEAVY = {"llvmlite", "lark", "networkx", "rich", "safetensors", "flatbuffers", "tflite"}
"""Packages that only compiling needs."""
LIGHT = {"netc.frontend", "netc.frontend.roots", "netc.compiler.preprocess"}
"""Of the frontend what says where files may lie."""


def _loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(printed.split())


@pytest.mark.parametrize("module", ["netc.runtime.saved", "netc.programs", "netc.ready", "netc.commands.run"])
def test_what_runs_saved_programs_imports_nothing_of_the_compiler(module: str) -> None:
    loaded = _loaded(f"import {module}")
    parts = {name.partition("netc.compiler.")[2] for name in loaded if name.startswith("netc.compiler.")}
    assert parts <= LEAVES
    assert not HEAVY & loaded
    assert {name for name in loaded if name.startswith("netc.frontend")} <= LIGHT


def test_a_run_of_a_classifier_imports_no_helpers_of_errors_drawings_and_archives() -> None:
    seldom = {"difflib", "heapq", "secrets", "shutil", "tempfile", "zipfile", "PIL.ImageDraw", "PIL.ImageFont"}
    assert not seldom & (_loaded("import netc.commands.run, netc.known") - _loaded("import numpy, PIL.Image, click"))


def test_importing_netc_imports_nothing_else() -> None:
    assert {name for name in _loaded("import netc") if name.startswith(("netc", "numpy"))} == {"netc"}


@pytest.mark.parametrize("part", ["loops", "graph", "ops", "lowering", "backends", "targets"])
def test_what_is_not_code_generation_imports_no_llvm(part: str) -> None:
    code = f"import sys, netc.compiler.{part}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "llvmlite" not in loaded.split()
