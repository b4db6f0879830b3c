"""Checkpoints: the whole state of a training run in one safetensors file, with a checksum.

`step-000001200.safetensors` holds the trainer's arrays; its metadata holds the loop's progress as JSON and the SHA-256
of everything. A file appears complete or not at all; the newest few are kept, and a damaged one is passed over in
favour of the one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from ...compiler.errors import NetcError
from ...compiler.files import writing
from ...compiler.reading import parse_json, reading, require_file
from ..finite import not_finite
from ..tensors import write_tensors
from .files import replace_file

State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    path: Path
    state: State
    progress: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of a run, of which the newest `keep` stay."""

    path: Path
    keep: int = 2

    def write(self, step: int, state: State, progress: Mapping[str, Any]) -> Path:
        """Write a checkpoint after `step` steps; returns its file."""
        arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
        text = json.dumps(progress, sort_keys=True)
        metadata = {"progress": text, "sha256": _digest(arrays, text)}
        path = self.path / f"step-{step:09d}.safetensors"
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
        replace_file(path, lambda part: write_tensors(part, arrays, metadata))
        for old in self._files()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def latest(self, *, finite: bool = False) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest checkpoint that is sound, and what was wrong with newer ones; None if there is no checkpoint.

        With `finite`, one that holds infinities or NaNs isn't sound. Raises `NetcError` if there are checkpoints and
        none of them is sound.
        """
        problems: list[str] = []
        for path in self._files():
            try:
                return _sound(read_checkpoint(path), finite), tuple(problems)
            except NetcError as error:
                problems.append(error.diagnostics[0].message)
        if problems:
            raise NetcError("all checkpoints are damaged:", details=problems)
        return None, ()

    def __bool__(self) -> bool:
        """Whether there is one, sound or not."""
        return bool(self._files())

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.path.glob("step-*.safetensors"), reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; raises `NetcError` that names it if it is damaged."""
    require_file(path, "checkpoint")
    with reading(path, "checkpoint"), safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    text = metadata.get("progress", "")
    if metadata.get("sha256") != _digest(arrays, text):
        raise NetcError(f"{path} is damaged: its checksum doesn't fit")
    progress: Mapping[str, Any] = parse_json(text, path, "checkpoint")
    return Checkpoint(path, arrays, progress)


def _sound(checkpoint: Checkpoint, finite: bool) -> Checkpoint:
    if finite and (name := not_finite(checkpoint.state)) is not None:
        raise NetcError(f"{checkpoint.path} is of no use: {name} holds infinities or NaNs")
    return checkpoint


def _digest(arrays: State, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
