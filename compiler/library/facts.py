"""What a library says of itself: JSON inside its object, from which `netc.load_library` knows how to call it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..types import Quantization
from .interface import ABI, Interface, Storage, Tensor
from .selftest import Answer

KEY = "netc_library"
"""The first key of the facts, whose value is the version of the interface."""
START = f'{{"{KEY}":'.encode()
"""How the facts begin in an object."""
_SUM = b',"checksum":"'
"""How they end: with the CRC-32 of the text before it."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a library has besides code and weights."""

    labels: tuple[str, ...] = ()
    """What the classes of the first output are called."""
    answers: tuple[Answer, ...] = ()
    """What the self-test compares with; empty: there is no test."""
    weights_name: str = ""
    """What the file of the weights is called."""
    preprocess: bool = False
    """There is a function that makes an input of a picture."""


def facts(interface: Interface, target: str, code: int, extras: Extras) -> str:
    """The text of the facts, with a checksum at its end."""
    text = json.dumps(describe(interface, target, code, extras), separators=(",", ":")).removesuffix("}")
    return f'{text}{_SUM.decode()}{zlib.crc32(text.encode()):08x}"}}'


def is_sound(text: bytes) -> bool:
    """Whether a text of facts has the checksum that it states."""
    facts, mark, checksum = text.rpartition(_SUM)
    return bool(mark) and checksum == b'%08x"}' % zlib.crc32(facts)


def describe(interface: Interface, target: str, code: int, extras: Extras) -> Mapping[str, Any]:
    """The facts as plain data."""
    return {
        KEY: ABI,
        "prefix": interface.prefix,
        "net": interface.name,
        "function": interface.task.value,
        "target": target,
        "code": f"{code:016x}",
        "inputs": _tensors(interface.inputs),
        "input_offsets": list(interface.input_offsets),
        "outputs": _tensors(interface.outputs),
        "workspace_bytes": interface.workspace_bytes,
        "alignment": interface.alignment,
        "weights": interface.storage.value,
        "weights_bytes": interface.stored_bytes,
        "weights_file": extras.weights_name if interface.storage is Storage.FILE else None,
        "state_bytes": interface.state_bytes,
        "state": [
            {"name": name, "dtype": str(type_.dtype), "shape": list(type_.shape), "offset": offset}
            for name, type_, offset in interface.state_places
        ],
        "threads": interface.threads,
        "context_bytes": interface.context_bytes,
        "labels": len(extras.labels),
        "selftest_bytes": interface.selftest_offsets[-1] if extras.answers else 0,
        "preprocess": extras.preprocess,
    }


def _tensors(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    return [
        {"name": t.name, "identifier": t.identifier, "dtype": str(t.type.dtype), "shape": list(t.type.shape)}
        | _scale(t.type.quantization)
        for t in tensors
    ]


def _scale(given: Quantization | None) -> dict[str, Any]:
    if given is None:
        return {}
    return {"scales": list(given.scales), "zero_points": list(given.zero_points), "axis": given.axis}
