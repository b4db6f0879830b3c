"""Fixtures for all tests: golden files, and LiteRT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .frontend.tflite.litert import LiteRT

Golden = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files with what the tests produce")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def golden(request: pytest.FixtureRequest, update_golden: bool) -> Golden:
    """`golden(text)` compares text with `goldens/TEST.txt` beside the test; `--update-golden` writes that file."""
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    return lambda text: compare_golden(text, request.path.parent / "goldens" / f"{name}.txt", update_golden)


def compare_golden(text: str, path: Path, update: bool) -> None:
    """Compare text with a golden file, or write it."""
    text = text if text.endswith("\n") else text + "\n"
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    if not path.exists():
        pytest.fail(f"there is no golden file {path}; `pytest --update-golden` writes it, then review it:\n{text}")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs; `pytest --update-golden` rewrites it"


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    """LiteRT's answers; what asks for them is skipped where it isn't installed."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    with LiteRT() as process:
        yield process
