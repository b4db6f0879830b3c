"""What makes the real compiler refuse a whole model, and where the prediction is in doubt.

The compiler loads a model with the TFLite interpreter of its time. Sizes that differ from run to run, custom operators
that it doesn't know, and operators that are newer than it end the compilation: nothing is left to the CPU. Evidence:
failed compilations that people published; docs/edgetpu.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..tflite.names import OPERATORS
from .facts import ModelFacts, OperatorFacts
from .release import Release

KNOWN_CUSTOM = ("TFLite_Detection_PostProcess", "PosenetDecoderOp", "edgetpu-custom-op")
"""Custom operators that the compiler loads, and leaves to the CPU."""
COMPILED = "edgetpu-custom-op"
"""What stands in a compiled file for the operators that the Edge TPU runs."""
_TOO_NEW: Mapping[str, tuple[int, Release]] = MappingProxyType(
    {
        "CONV_2D": (6, Release(16, 0)),
        "DEPTH_TO_SPACE": (2, Release(15, 0)),
        "RESIZE_BILINEAR": (3, Release(2, 1)),
        "RESIZE_NEAREST_NEIGHBOR": (3, Release(2, 1)),
        "REVERSE_V2": (3, Release(15, 0)),
        "TRANSPOSE_CONV": (3, Release(2, 1)),
    }
)
"""Versions of operators that a release, and those before it, were seen not to load."""
_FIRST_UNKNOWN = OPERATORS.index("GELU")
"""Operators from this code on are not known to release 16.0 ("builtin_code out of range: 150")."""
LARGE = 1 << 19
"""Elements of a tensor from which the operators below were seen to stay on the CPU, in no consistent way."""
_DOUBTED = (
    "CONCATENATION", "LOGISTIC", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the real compiler refuses the model as a whole, and what mends it."""

    cause: str
    cure: str


def failures(model: ModelFacts, release: Release) -> tuple[Failure, ...]:
    """What makes the compilation fail, each cause once."""
    return (*_dynamic(model), *_custom(model), *_versions(model, release))


def _dynamic(model: ModelFacts) -> Sequence[Failure]:
    tensors = (t for op in model.operators for t in (*op.activations, *op.outputs))
    found = next((t for t in (*model.inputs, *tensors) if t.dynamic), None)
    if found is None:
        return ()
    cause = f"sizes are only known at run time, first of {found.name or found}"
    return (Failure(cause, "fix the batch and all other sizes of the inputs before the model is converted"),)


def _custom(model: ModelFacts) -> Sequence[Failure]:
    names = dict.fromkeys(op.written_as for op in model.operators if op.kind == "CUSTOM")
    unknown = [name for name in names if name not in KNOWN_CUSTOM]
    return [Failure(f"the custom operator {n} is not known to it", f"end the model in front of {n}") for n in unknown]


def _versions(model: ModelFacts, release: Release) -> Sequence[Failure]:
    found = {}
    for op in model.operators:
        version, last = _TOO_NEW.get(op.kind, (0, release))
        if version and op.version >= version and release <= last:
            cause = f"version {op.version} of {op.kind} is newer than release {release}"
            found[op.kind] = Failure(cause, "convert the model with an older release of TensorFlow")
        elif op.kind in OPERATORS and OPERATORS.index(op.kind) >= _FIRST_UNKNOWN:
            cause = f"{op.kind} is newer than release {release}"
            found[op.kind] = Failure(cause, "write it as other operators, or convert with TensorFlow 2.5")
    return list(found.values())


def doubts(mapped: Sequence[OperatorFacts]) -> tuple[str, ...]:
    """Sentences about mapped operators whose tensors are so large that logs contradict each other."""
    doubted: dict[str, list[int]] = {}
    for op in mapped:
        size = max((t.size for t in (*op.activations, *op.outputs)), default=0)
        if op.kind in _DOUBTED and size >= LARGE:
            doubted.setdefault(op.kind, []).append(size)
    return tuple(
        f"{len(sizes)} {kind} of up to {max(sizes):,} elements: logs show such ones left on the CPU, and all behind"
        for kind, sizes in sorted(doubted.items())
    )
