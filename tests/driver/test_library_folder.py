"""Libraries of several networks in one folder: programs with all of them, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from netc.compiler.library.folder import Sheet

from .conftest import Call
from .libraries import CC, WARNINGS, needs_cc

NETS = """
net first(x: f32[1, 3]) { return relu(x) }
net second(x: f32[1, 3]) { return dense(x, 2) }
net third(x: f32[1, 3]) { return neg(x) }
"""
SHEET = Sheet(("# ", ""), lambda prefixes: f"[{' '.join(prefixes)}]\n", lambda prefixes: f"{len(prefixes)}\n")


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.net").write_text(NETS)
    return tmp_path / "nets.net"


def ran(folder: Path) -> str:
    """What the example prints, when it is compiled as the page says."""
    (line,) = (li for li in (folder / "README.md").read_text().splitlines() if li.startswith("    cc "))
    words = [str(CC), *WARNINGS, *line.split()[1:]]
    subprocess.run(words, cwd=folder, check=True)
    return subprocess.run(["./example"], cwd=folder, capture_output=True, text=True, check=True).stdout


@needs_cc
def test_the_example_runs_all_networks_of_a_folder(netc: Call, nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for net in ("second", "first", "third", "second"):
        options = ("--threads", "2") if net == "second" else ("--embed-weights",)
        assert netc("build", nets, "--net", net, "-o", out, *options).code == 0
    good = "the self-test gives the stored answer"
    printed = ran(out).splitlines()
    assert [line for line in printed if line[0].isalpha()] == ["first:", good, "second:", good, "third:", good]
    (out / "third.o").unlink()
    assert netc("build", nets, "--net", "first", "-o", out).code == 0
    assert "third" not in ran(out) + (out / "CMakeLists.txt").read_text() + (out / "README.md").read_text()


@pytest.mark.skipif(CC is None or shutil.which("cmake") is None, reason="no CMake")
def test_cmake_builds_all_networks_of_a_folder(netc: Call, nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for prefix in ("one", "test"):
        assert netc("build", nets, "--net", "second", "--prefix", prefix, "-o", out).code == 0
    for step in (["cmake", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(step, cwd=out, check=True, capture_output=True)
    printed = subprocess.run(["build/networks_example"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert printed.count("self-test") == 2


def test_what_does_not_fit_into_a_folder_is_refused(netc: Call, nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert netc("build", nets, "--net", "first", "-o", out, "--target", "cortex-m4").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    build = ("build", nets, "--net", "second", "-o", out)
    done = netc(*build, "--target", "aarch64-linux")
    assert done.code == 2
    assert "has `first` for cortex-m4 (thumbv7em-unknown-none-gnueabihf), which doesn't link with generic" in done.err
    done = netc(*build, "--target", "cortex-m4", "--prefix", "FIRST")
    assert done.code == 2
    assert "`first`, whose constants in C have the names of `FIRST`'s" in done.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert netc(*build, "--target", "cortex-m4").code == 0

    pages = tmp_path / "pages"
    assert netc("build", nets, "--net", "first", "-o", pages, "--target", "wasm32").code == 0
    done = netc("build", nets, "--net", "second", "-o", pages, "--target", "wasm32")
    assert done.code == 2
    assert "a page shows one network" in done.err


@pytest.mark.parametrize("name", ["README.md", "CMakeLists.txt", "example.c", "first.h"])
def test_files_of_others_are_not_overwritten(netc: Call, nets: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    done = netc("build", nets, "--net", "first", "-o", tmp_path / "out")
    assert done.code == 2
    assert f"{name} is not of netc and would be overwritten" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_sections_are_kept_and_replaced() -> None:
    one = SHEET.merged("", "b", "old b\n", ())
    assert one == "[b]\n\n# network b\nold b\n\n# all networks\n1\n"
    two = SHEET.merged(one, "a", "\n# network\nx\n", {"b", "c"})
    assert SHEET.sections(two) == {"a": "# network\nx", "b": "old b"}
    assert SHEET.merged(two, "b", "new b", {"a"}) == two.replace("old", "new")
    assert SHEET.merged(two, "b", "old b", ()) == one
