"""What the definition of an operator says of a node: its inputs, outputs, attributes and element types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from ...compiler.errors import NetcError, near_miss
from ...compiler.types import DType
from .values import Tensor, UnsupportedError

_WORDS: Mapping[DType, str] = MappingProxyType(
    {
        DType.F32: "float",
        DType.F64: "double",
        DType.F16: "float16",
        DType.I64: "int64",
        DType.I32: "int32",
        DType.I16: "int16",
        DType.I8: "int8",
        DType.U8: "uint8",
        DType.BOOL: "bool",
    }
)
"""What definitions of operators call element types."""


def check_counts(schema: Any, proto: Any) -> None:
    """Raise `UnsupportedError` unless a node has as many inputs and outputs as its operator."""
    for what, count, low, high in (
        ("inputs", len(proto.input), schema.min_input, schema.max_input),
        ("outputs", len(proto.output), schema.min_output, schema.max_output),
    ):
        if not (low if what == "inputs" else 0) <= count <= high:
            limits = str(low) if low == high else f"{low} to {high}" if high < 1 << 30 else f"{low} or more"
            raise UnsupportedError(f"it has {count} {what}, not {limits}")


def check_attributes(schema: Any, attributes: Sequence[Any]) -> None:
    """Raise `UnsupportedError` for an attribute that this version doesn't have, and for one that it lacks."""
    known = schema.attributes
    for attribute in attributes:
        if attribute.name not in known:
            hint = near_miss(attribute.name, known) or "it has " + (", ".join(sorted(known)) or "none")
            raise UnsupportedError(
                f"{schema.name}-{schema.since_version} has no attribute `{attribute.name}`", hint=hint
            )
        kind = int(known[attribute.name].type)
        if attribute.type != kind:
            raise UnsupportedError(f"the attribute `{attribute.name}` is of another kind than {schema.name}'s")
    given = {attribute.name for attribute in attributes}
    lacking = next((name for name, a in sorted(known.items()) if a.required and name not in given), None)
    if lacking is not None:
        raise UnsupportedError(f"the attribute `{lacking}` is missing")


def check_types(schema: Any, inputs: Sequence[Tensor | None]) -> None:
    """Raise `UnsupportedError` for an input whose element type the operator doesn't take."""
    formal = list(schema.inputs)
    same: dict[str, str] = {}
    for place, tensor in enumerate(inputs):
        if tensor is None:
            continue
        declared = formal[min(place, len(formal) - 1)]
        if tensor.items is not None:
            if not any("seq(" in kind for kind in declared.types):
                raise UnsupportedError(f"input {place}, `{tensor.name}`, can't be a sequence")
            continue
        if tensor.is_missing and any("optional(" in kind for kind in declared.types):
            continue
        dtype = tensor.foreign or _WORDS[tensor.type.dtype]
        word = f"tensor({dtype})"
        if word not in declared.types and f"optional({word})" not in declared.types:
            raise UnsupportedError(f"input {place}, `{tensor.name}`, can't have elements of type {dtype}")
        first = same.setdefault(declared.type_str, dtype)
        if first != dtype and getattr(declared, "is_homogeneous", True):
            raise UnsupportedError(f"inputs of types {first} and {dtype} should be of one type")


_STRING = 9
"""The number of text among the types of fields."""


def check_text(message: Any) -> None:
    """Raise `NetcError` if some name of a file isn't text in UTF-8: protocol buffers give its bytes then."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        for name, is_text in _fields(message.DESCRIPTOR):
            value = getattr(message, name)
            if is_text:
                parts = [value] if isinstance(value, str | bytes) else value
                wrong = next((part for part in parts if not isinstance(part, str)), None)
                if wrong is not None:
                    raise NetcError(f"`{name}` is no text in UTF-8, but {wrong[:40]!r}")
            elif not hasattr(value, "ListFields"):
                waiting.extend(value)
            elif message.HasField(name):
                waiting.append(value)


@cache
def _fields(descriptor: Any) -> list[tuple[str, bool]]:
    """The fields of a kind of message that are text or hold messages, and which of both; bytes would be copied."""
    return [(f.name, f.type == _STRING) for f in descriptor.fields if f.type == _STRING or f.message_type is not None]
