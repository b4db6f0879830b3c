"""The tables that the reader knows, against the code that flatc generated from the schema."""

from __future__ import annotations

import re

import pytest
import tflite

from netc.compiler.tflite.names import (
    ACTIVATIONS,
    OPERATORS,
    PADDINGS,
    TENSOR_TYPES,
    WEIGHTS_FORMATS,
    accessor,
)
from netc.compiler.tflite.reading import schema
from netc.compiler.tflite.reading.flatbuffer import Scalar, Table
from netc.compiler.tflite.reading.options import OPTIONS, OPTIONS_2

TABLES = [
    schema.MODEL,
    schema.SUBGRAPH,
    schema.TENSOR,
    schema.QUANTIZATION,
    schema.SPARSITY,
    schema.DIMENSION_METADATA,
    schema.OPERATOR,
    schema.OPERATOR_CODE,
    schema.BUFFER,
    schema.METADATA,
    schema.SIGNATURE,
    schema.TENSOR_MAP,
    *OPTIONS.tables.values(),
    *OPTIONS_2.tables.values(),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_slots_and_defaults(table: Table) -> None:
    generated = getattr(tflite, table.name)
    for slot, (name, kind) in enumerate(table.fields.items()):
        if kind is None:
            continue
        constants = getattr(generated, accessor(name)).__code__.co_consts
        assert 4 + 2 * slot in constants, f"{table.name}.{name} is not in slot {slot}"
        if isinstance(kind, Scalar):
            assert kind.default in (c for c in constants if c is not None)


@pytest.mark.parametrize(("number", "table"), OPTIONS.tables.items(), ids=str)
def test_numbers_of_options(number: int, table: Table) -> None:
    assert getattr(tflite.BuiltinOptions, table.name) == number


@pytest.mark.parametrize(
    ("names", "enumeration"),
    [
        (OPERATORS, tflite.BuiltinOperator),
        (TENSOR_TYPES, tflite.TensorType),
        (ACTIVATIONS, tflite.ActivationFunctionType),
        (PADDINGS, tflite.Padding),
        (WEIGHTS_FORMATS, tflite.FullyConnectedOptionsWeightsFormat),
    ],
)
def test_enumerations(names: tuple[str, ...], enumeration: type) -> None:
    generated = {v: k for k, v in vars(enumeration).items() if re.match("[A-Z]", k)}
    assert {number: name for number, name in enumerate(names) if number in generated} == generated


def test_element_types_of_a_later_schema() -> None:
    later = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")
    assert dict(enumerate(TENSOR_TYPES)) == {v: k for k, v in vars(later.TensorType).items() if re.match("[A-Z]", k)}
