"""Fixtures for tests that need real data."""

from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.runtime.datasets import data_folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data sets; skips the test where there is none."""
    try:
        return data_folder()
    except NetcError as error:
        pytest.skip(f"needs real data: {error}")
