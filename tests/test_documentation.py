"""What docs/architecture.md shows is what its commands and its Python print; `--update-golden` writes it anew.

A block that begins with `$ ` is a shell command and its output. A Python block that prints is followed by a block of
what it printed; all Python blocks of a page run in one process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from netc.cli import cli
from netc.compiler.backends import known_passes
from netc.compiler.backends.cpu.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("architecture.md", "command-line.md")
COMMAND = re.compile(r"^```\n(\$ (.*)\n)[^`]*?```$", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```\n(?:\n```\n((?!\$).*?)```\n)?", re.MULTILINE | re.DOTALL)
FOLDERS = (".", "docs", "benchmarks", "benchmarks/results", "editors", "models")
MARKDOWN = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
BLOCK = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^\$ |^    |^```\n|`|&& |-n \d )netc ([a-z]+)\b([^`|\n&>]*)", re.MULTILINE)
OPTION = re.compile(r"(?<=\s)--[a-z][a-z0-9-]*")
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
README_DATA = """\
import numpy as np
import netc
from netc.runtime.weights import initial_weights, write_weights

random = np.random.default_rng(0)
image = random.standard_normal((1, 224, 224, 3), dtype=np.float32)
samples = np.repeat(image, 2, axis=0)
images, labels = random.standard_normal((128, 28, 28, 1), dtype=np.float32), np.zeros(128, np.int32)
net = netc.load("resnet50")
write_weights("resnet50.safetensors", net, initial_weights(net, 0))
"""
"""What the README's Python takes as given."""
GIVEN = {
    "qat.md": """\
import numpy as np
import netc
from netc.runtime.weights import initial_weights

graph = netc.load("cnn_mnist", batch=8)
weights = initial_weights(graph, 0)
random = np.random.default_rng(0)
batches = [(random.random((8, 28, 28, 1), np.float32), np.zeros(8, np.int32)) for _ in range(5)]
""",
    "pytorch.md": """\
import numpy as np
import torch
import netc

module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 16, 16), torch.nn.ReLU(), torch.nn.Flatten()).eval()
picture = np.ones((1, 3, 224, 224), np.float32)
""",
}
"""What the Python of pages takes as given."""
REPEATABLE = ("netc compile cnn_mnist --emit loops", "netc show cnn_mnist")
"""Commands of the README that print the same on each machine, and take no files."""
MARK = "# ---- end of block ----"
SHELL = 'set -e; netc() { "$PYTHON" -m netc "$@"; }; '


@pytest.mark.parametrize("page", PAGES)
def test_page_shows_what_is_printed(
    page: str, update_golden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path))
    path = ROOT / "docs" / page
    text = path.read_text(encoding="utf-8")
    folder = tmp_path / "root"  # what commands write doesn't land in the repository
    folder.mkdir()
    for item in ROOT.iterdir():
        (folder / item.name).symlink_to(item)
    current = COMMAND.sub(lambda match: f"```\n{match[1]}{_shell(match[2], folder)}```", text)
    outputs = iter(_python([match[1] for match in PYTHON.finditer(current)], folder))
    current = PYTHON.sub(lambda match: _with_output(match[1], next(outputs)), current)
    if update_golden:
        path.write_text(current, encoding="utf-8")
    assert current == path.read_text(encoding="utf-8"), f"{page} is out of date; run pytest --update-golden"


def test_pages_hold_examples() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(COMMAND.findall(text)) >= 10
    assert len(PYTHON.findall(text)) >= 10


def test_architecture_names_the_file_of_each_schedule() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    chosen = [schedule for several in SCHEDULES.by_algorithm.values() for schedule in several]
    files = {f"{schedule.__module__.rpartition('.')[2]}.py" for schedule in (*SCHEDULES.in_order, *chosen)}
    assert {file for file in files if f"`{file}`" not in text and f"/{file}`" not in text} == set()


def test_architecture_names_each_pass() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {name for name in known_passes() if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", MARKDOWN, ids=str)
def test_commands_that_pages_name_exist(page: Path) -> None:
    """Each `netc COMMAND --option`, in blocks and between words, is a command with this option."""
    context = click.Context(cli)
    for line in CALL.findall((ROOT / page).read_text(encoding="utf-8")):
        command = cli.get_command(context, line[0])
        assert command is not None, line
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert set(OPTION.findall(line[1])) <= options, line


def test_glossary_is_in_order_and_defines_each_word_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^- \*\*(.+?)\*\*:", text, re.MULTILINE)
    assert words == sorted(set(words))
    assert {"facet", "graph", "layer", "margin", "operator", "schedule", "target", "trait"} <= set(words)


@pytest.mark.parametrize("page", GIVEN)
def test_python_of_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "pytorch.md":
        pytest.importorskip("torch")
        pytest.importorskip("onnxscript")
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path))
    blocks = [match[1] for match in PYTHON.finditer((ROOT / "docs" / page).read_text(encoding="utf-8"))]
    assert blocks
    _run([sys.executable, "-W", "ignore", "-c", "\n".join([GIVEN[page], *blocks])], tmp_path)


@pytest.mark.parametrize("page", MARKDOWN, ids=str)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    path = ROOT / page
    for target in LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8"))):
        file, _, heading = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not heading or heading in _anchors(there), target


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path))
    (example,) = PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    code = example[0].replace('"other.tflite"', '"resnet50.tflite"')  # the file that it has just written
    after = "print(scores.shape, len(grads.outputs), loss > 0, graph.name)"
    script = (README_DATA + code + after).replace("resnet50", "resnet18")  # the same with a third of the work
    assert _run([sys.executable, "-c", script], tmp_path).endswith("(1, 1000) 3 True resnet18\n")


def test_readme_shows_what_is_printed_anywhere(
    update_golden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [match for match in COMMAND.finditer(text) if match[2].startswith(REPEATABLE)]
    assert len(shown) == len(REPEATABLE)
    current = text
    for match in shown:
        current = current.replace(match[0], f"```\n{match[1]}{_shell(match[2], tmp_path)}```")
    if update_golden:
        (ROOT / "README.md").write_text(current, encoding="utf-8")
    assert current == (ROOT / "README.md").read_text(encoding="utf-8"), "run pytest --update-golden"


def test_options_are_explained() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name in re.findall(r"^## netc (\w+)$", text, re.MULTILINE):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(f"`{o}" in text for o in option.opts), f"{option.opts} of netc {name} is not explained"


def _anchors(page: Path) -> set[str]:
    """What follows `#` in a link to one of the headings of a page, as GitHub writes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _shell(command: str, folder: Path) -> str:
    return _run(["bash", "-c", SHELL + command], folder)


def _python(blocks: list[str], folder: Path) -> list[str]:
    code = f"\nprint({MARK!r})\n".join(blocks)
    return _run([sys.executable, "-c", code], folder).split(f"{MARK}\n")


def _run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command[-1]}\n{result.stderr}"
    return result.stdout


def _with_output(code: str, output: str) -> str:
    shown = f"\n```\n{output.rstrip()}\n```\n" if output.strip() else ""
    return f"```python\n{code}```\n{shown}"
