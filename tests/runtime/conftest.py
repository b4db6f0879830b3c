"""Fixtures: real data, and image folders made up for the tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.folder import data_folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data sets; skips the test where there is none."""
    try:
        return data_folder()
    except NetcError as error:
        pytest.skip(f"needs real data: {error}")


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """DIR/train with 3 classes of 4 pictures of different sizes, DIR/val with 2 of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("bee", "ant", "cat"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                size = (int(random.integers(10, 20)), int(random.integers(10, 20)), 3)
                Image.fromarray(random.integers(0, 256, size, np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"
