"""The quantization report as a file: the ending of its name says in which form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .compiler.errors import NetcError
from .compiler.quantization.page import to_html
from .compiler.quantization.report import Report, to_data
from .output import write_result


def _to_json(report: Report) -> str:
    return json.dumps(to_data(report), indent=1) + "\n"


FORMS: Mapping[str, Callable[[Report], str]] = MappingProxyType({".html": to_html, ".json": _to_json})
"""Forms of a report by the ending of the file's name."""


@dataclass(frozen=True)
class ReportFile:
    """Where a report goes."""

    path: str
    form: Callable[[Report], str]

    @staticmethod
    def named(path: str) -> ReportFile:
        """The file of that name; raises `NetcError` if its ending is not that of a form."""
        ending = Path(path).suffix.lower()
        if ending not in FORMS:
            raise NetcError(f"can't tell the form of report {path}", hint=f"end its name in {' or '.join(FORMS)}")
        return ReportFile(path, FORMS[ending])

    def write(self, report: Report) -> None:
        """Write the file: complete or not at all."""
        write_result(self.form(report), self.path)
