"""Packages that netc can do without: whatever keeps one from being imported is an error with a cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.extras import extra


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("raise TypeError('made by a newer\\n  compiler')", "made by a newer compiler"),
        ("raise SystemError", "SystemError"),
    ],
)
def test_an_import_that_fails_is_an_error_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    (tmp_path / "unfit_package.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NetcError, match=f"drawing needs it: {reason}\n  hint: pip install it"):
        extra("unfit_package", "drawing needs it", "pip install it")


def test_a_module_that_is_there_is_given() -> None:
    assert extra("json.decoder", "", "").__name__ == "json.decoder"
