"""What the command line of `netc compile` says."""

from __future__ import annotations

from dataclasses import dataclass

from .options import NetworkOptions
from .passlog import PassLog
from .runtime.saved import is_saved_name


@dataclass(frozen=True)
class CompileOptions:
    """The options of `netc compile`, for a processor or for the Edge TPU."""

    network: NetworkOptions
    threads: int | None
    cpu: str | None
    precision: str
    emit: str | None
    output: str | None
    target: str | None
    weights: str | None
    preprocess: dict[str, object]
    calibrate: str | None
    samples: int
    method: str
    equalize: bool
    release: str | None
    report: str | None
    log: PassLog
    as_json: bool

    @property
    def saved(self) -> str | None:
        """The file for a program with its weights, if one is to be written."""
        return self.output if self.output and not self.emit and is_saved_name(self.output) else None
