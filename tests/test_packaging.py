"""The shape of the project: packages are complete, dependencies point one way, `import netc` loads nothing heavy."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS = {folder: package for package, folder in SETUPTOOLS["package-dir"].items()}
MAY_IMPORT = {
    "netc.compiler": {"netc.compiler"},
    "netc.frontend": {"netc.frontend", "netc.compiler"},
    "netc.runtime": {"netc.runtime", "netc.compiler"},
    "netc.models": set(),
}
"""What each package may import of netc; the driver (`netc` itself) may import all of them."""


@cache
def sources() -> tuple[tuple[str, Path], ...]:
    """(package of the file, file) for all files of the package."""
    return tuple(
        (".".join([package, *path.parent.relative_to(ROOT / folder).parts]), path)
        for folder, package in FOLDERS.items()
        for path in sorted((ROOT / folder).rglob("*.py"))
    )


@cache
def imports(package: str, path: Path) -> tuple[str, ...]:
    """Full names of the modules that a file imports, at any depth."""
    return tuple(_imports(package, path))


def _imports(package: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            parent = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{parent}.{alias.name}" for alias in node.names)


def test_every_package_is_listed() -> None:
    found = {package for package, path in sources() if path.name == "__init__.py"}
    assert set(SETUPTOOLS["packages"]) == found


def test_every_data_file_is_packaged() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        root = ".".join(package.split(".")[:2])
        folder = next(ROOT / f for f, p in FOLDERS.items() if p == root).joinpath(*package.split(".")[2:])
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: nothing matches {pattern}"
    suffixes = {path.suffix for path in (ROOT / "models").iterdir() if path.is_file()}
    assert suffixes <= {".md", ".net", ".png", ".py", ".txt"}


def test_the_type_checker_sees_every_module() -> None:
    driver = {path.name for path in (ROOT / "driver").iterdir() if path.name != "__pycache__"}
    links = {path.name: path for path in (ROOT / "typings" / "netc").iterdir()}
    assert links.keys() == driver | {folder for folder in FOLDERS if folder != "driver"}
    assert [name for name, link in links.items() if not link.exists()] == []


def test_dependencies_point_one_way() -> None:
    wrong = []
    for package, path in sources():
        home = ".".join(package.split(".")[:2])
        if home not in MAY_IMPORT:
            continue
        for name in imports(package, path):
            if name.split(".")[0] == "netc" and ".".join(name.split(".")[:2]) not in MAY_IMPORT[home]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_only_code_generation_imports_llvmlite() -> None:
    importers = {package for package, path in sources() for name in imports(package, path) if "llvmlite" in name}
    assert importers == {"netc.compiler.backends.cpu.codegen"}


def test_the_import_scan_sees_relative_imports() -> None:
    found = dict.fromkeys(imports("netc.compiler.graph", ROOT / "compiler" / "graph" / "builder.py"))
    assert "netc.compiler.errors.Location" in found
    assert "netc.compiler.graph.ir.Graph" in found


@pytest.mark.parametrize("heavy", ["numpy", "llvmlite", "networkx", "lark", "PIL", "click"])
def test_import_netc_loads_nothing_heavy(heavy: str) -> None:
    assert heavy not in modules_after_import()


@cache
def modules_after_import() -> list[str]:
    code = "import sys, netc; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_public_names_exist() -> None:
    import netc

    for name in netc.__all__:
        assert getattr(netc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netc.nothing


def test_ci_runs_the_set_up_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    pip install ")]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    assert len(commands) == 2
    for command in commands:
        assert command in script
