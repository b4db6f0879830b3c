"""What integers stand for: scales in the text of a network, those of operands, and those that lie beside weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import safe_open

from ..compiler.errors import Location, NetcError
from ..compiler.graph.declarations import REQUIRED
from ..compiler.graph.ir import Array, AttributeSpec, Operator, Value
from ..compiler.ops.functions.activations import ALONE
from ..compiler.ops.quantized.base import ACTIVATED, INTEGERS, integer_range
from ..compiler.reading import reading, require_file
from ..compiler.stored import SCALES, ZERO_POINTS, read_quantization
from ..compiler.types import QUANTIZATION_PATTERN, Quantization, parse_quantization
from .values import error

SUFFIX = ".safetensors"
MAX_STORED = 1 << 22
"""Most scales of a file."""


class Source(Protocol):
    """What says what the integers of parameters stand for."""

    @property
    def file(self) -> str:
        """The file that says so."""
        ...

    def quantization(self, name: str, axis: int) -> Quantization | None:
        """What the integers of a parameter stand for; None if that isn't said."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of weights that a text imports: what it says about integers, by the name of the tensor."""

    file: str
    tensors: Mapping[str, Array]

    @staticmethod
    def read(path: Path, location: Location | None) -> Stored:
        """The scales and zero points in a file. Raises `NetcError` if it is no such file."""
        tensors: dict[str, Array] = {}
        total = 0
        require_file(path, "weights file")
        with reading(path, "safetensors file"), safe_open(path, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                if not name.endswith((SCALES, ZERO_POINTS)):
                    continue
                shape = opened.get_slice(name).get_shape()
                total += int(np.prod(shape)) if len(shape) < 2 else MAX_STORED + 1
                if total > MAX_STORED:
                    raise error(f"{path} has more than {MAX_STORED:,} scales, or a list of lists of them", location)
                tensors[name] = opened.get_tensor(name)
        return Stored(str(path), tensors)

    def quantization(self, name: str, axis: int) -> Quantization | None:
        """What the integers of a parameter stand for, a list of scales along a dimension."""
        try:
            return read_quantization(name, axis, self.tensors)
        except NetcError as problem:
            raise error(f"{self.file}: {problem.diagnostics[0].message}") from None


@dataclass(frozen=True, slots=True)
class InOrder:
    """What the integers of parameters stand for, in the order in which a text makes them, whatever their names."""

    file: str
    rest: Iterator[Quantization | None]

    def quantization(self, name: str, axis: int) -> Quantization | None:
        """That of the next parameter."""
        return next(self.rest, None)


def quantization_of(name: str, rank: int, axis: int, files: Iterable[Source]) -> Quantization | None:
    """What the integers of the parameter `name` stand for by the imported files; None if these don't say.

    A list of scales goes along the dimension `axis`.
    """
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise error(f"`{name}` has {rank} dimensions, none of them {axis}")
    found = [(q, file) for file in files if (q := file.quantization(name, axis % max(rank, 1))) is not None]
    for other, file in found[1:]:
        if other != found[0][0]:
            raise error(f"{found[0][1].file} and {file.file} say different things about the scales of `{name}`")
    return found[0][0] if found else None


def settings(operator: Operator, operands: Sequence[Value], given: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an operator on integers: texts such as "<0.5:-3>" become what they say.

    Where nothing is said about an operand, it is as its type says.
    """
    result = dict(given)
    for name, spec in operator.attributes.items():
        if not spec.is_quantization:
            continue
        if name in given:
            result[name] = _parsed(operator, name, given[name])
        elif (found := default(operator, operands, name, spec)) is not None:
            result[name] = found
        elif (unknown := _operand(operator, operands, name)) is not None and spec.default is REQUIRED:
            hint = "write for example i8[N, 10]<0.0235:-128>; scales of weights lie in a file that the text imports"
            problem = f"what the integers of `{name}` stand for, but {unknown.type} doesn't say"
            raise error(f"{operator.name} must know {problem}", None, hint)
    return result | {name: value for name, value in range_of(operator, operands, result).items() if name not in given}


def range_of(operator: Operator, operands: Sequence[Value], given: Mapping[str, Any]) -> Mapping[str, int]:
    """The range that the activation of an operator on integers leaves of its results; empty without one."""
    activation, y = given.get("activation"), given.get("y")
    if not {*ACTIVATED} <= {*operator.attributes} or not isinstance(y, Quantization):
        return {}
    if not isinstance(activation, str) or activation not in ALONE:
        return {}
    if not y.is_per_tensor or operands[0].type.dtype not in INTEGERS:
        return {}
    low, high = integer_range(*ALONE[activation], operands[0].type.dtype, y)
    return {"low": low, "high": high}


def default(operator: Operator, operands: Sequence[Value], name: str, spec: AttributeSpec) -> Any:
    """What an attribute says unless it is given; None if that is nothing.

    `x` is what the operand x is, and an attribute of several is what all operands are.
    """
    if spec.items is Quantization:
        found = tuple(value.type.quantization for value in operands)
        return found if all(found) else None
    operand = _operand(operator, operands, name)
    return operand.type.quantization if operand is not None else None


def _operand(operator: Operator, operands: Sequence[Value], name: str) -> Value | None:
    """The operand of that name."""
    pairs = zip(operator.operands, operands, strict=False)
    return next((value for operand, value in pairs if operand.strip("?") == name), None)


def _parsed(operator: Operator, name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_parsed(operator, name, item) for item in value)
    if value is None or isinstance(value, Quantization):
        return value
    if not isinstance(value, str) or re.fullmatch(QUANTIZATION_PATTERN, value) is None:
        hint = 'write for example "<0.0235:-128>": scale and zero point'
        raise error(f"`{name}` of {operator.name} can't be {value!r}", None, hint)
    return parse_quantization(value)
