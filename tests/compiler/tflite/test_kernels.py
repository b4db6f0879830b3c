"""What netc writes LiteRT has kernels for: uses of all operators, in each element type, run there or are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import TFLITE
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.kernels import LACKING, without_kernel
from netc.compiler.types import DType, TensorType

from ...frontend.tflite.litert import KERNELS, LiteRT, RefusedError
from ..cases import CASES
from ..cases.case import OpCase

DIVISIONS = ("div", "floor_div", "floor_mod", "pow")
"""LiteRT refuses what some of their operands hold, such as divisors of 0."""
USES = 2
"""Cases of each operator that are tried in each element type."""


def in_type(case: OpCase, dtype: DType) -> Iterator[OpCase]:
    """The case with floats in another element type, and with whole numbers and truth values in it."""
    given = {i: case.dtype(i) for i in range(len(case.shapes))}
    for some in ((DType.F32,), (DType.I32, DType.I64, DType.BOOL)):
        if set(some) & set(given.values()):
            yield replace(case, dtypes={i: dtype if old in some else old for i, old in given.items()})


def written(case: OpCase) -> tuple[bytes, list[np.ndarray]] | None:
    """A file of the case and inputs of ones; None where netc refuses one of both."""
    try:
        graph, operands = case.graph(), case.operands()
        given = zip(graph.parameters, operands[len(graph.inputs) :], strict=True)
        params = {op.result.name or "": x for op, x in given}
        data = to_tflite(graph, params)
    except NetcError:
        return None
    fill = int(case.op in DIVISIONS)
    return data, [np.full(v.type.shape, fill, v.type.dtype.numpy) for v in graph.inputs]


def some_cases() -> list[OpCase]:
    found: dict[str, list[OpCase]] = {}
    for case in CASES:
        if TFLITE.of(operators()[case.op]) is not None and all(all(shape) for shape in case.shapes):
            found.setdefault(case.op, []).append(case)
    return [case for cases in found.values() for case in cases[:USES]]


@pytest.mark.parametrize("dtype", DType, ids=str)
def test_litert_runs_what_is_written(dtype: DType, litert: LiteRT) -> None:
    refused = []
    for case in (other for given in some_cases() for other in in_type(given, dtype)):
        file = written(case)
        if file is None:
            continue
        try:
            litert(file[0], [file[1]], KERNELS[1])
        except RefusedError as error:
            refused.append(f"{case.id}: {error}")
    assert not refused


def one(name: str, dtype: DType, shape: tuple[int, ...] = (2, 3), **attributes: object) -> Graph:
    b = GraphBuilder("net")
    return b.finish([b.emit(name, b.input("x", TensorType(dtype, shape)), **attributes)])


@pytest.mark.parametrize(("name", "dtype"), [("abs", DType.F64), ("abs", DType.I64), ("exp", DType.F16)])
def test_the_reason_names_kernel_and_type(name: str, dtype: DType) -> None:
    with pytest.raises(NetcError, match=f"LiteRT has no kernel of {name.upper()} for {dtype}\n  hint: cast to "):
        to_tflite(one(name, dtype))


def test_the_element_type_of_the_data_decides() -> None:
    assert without_kernel("SCATTER_ND", (DType.I32, DType.I16, DType.I32)) is DType.I16
    assert without_kernel("SCATTER_ND", (DType.I64, DType.F32, DType.I32)) is None
    assert without_kernel("RESHAPE", (DType.F64, DType.I32)) is None


def test_names_are_those_of_operators() -> None:
    kinds = {kind for operator in operators().values() if (form := TFLITE.of(operator)) for kind in form.kinds}
    assert LACKING.keys() <= kinds | {"SUM"}


def test_pad_takes_as_many_dimensions_as_its_kernel(litert: LiteRT) -> None:
    for rank in range(6):
        shape = (2, 3, 2, 1, 2)[:rank]
        x = np.ones(shape, np.float32)
        ((got,),) = litert(to_tflite(one("pad", DType.F32, shape, padding=((1, 2),) * rank, value=0.0)), [[x]])
        np.testing.assert_array_equal(got, np.pad(x, ((1, 2),) * rank) if rank else x)
    with pytest.raises(NetcError, match="no TFLite form of pad with more than 5 dimensions"):
        to_tflite(one("pad", DType.F32, (1,) * 6, padding=((1, 0),) * 6, value=0.0))


def test_blocks_of_batches_take_as_many_dimensions_as_their_kernels(litert: LiteRT) -> None:
    for rank in (3, 4, 5):
        x = np.arange(32, dtype=np.float32).reshape(4, 4, *[1] * (rank - 3), 2)
        block, none = (2, *[1] * (rank - 3)), ((0, 0),) * (rank - 2)
        for graph in (
            one("space_to_batch_nd", DType.F32, x.shape, block_shape=block, padding=none, value=0),
            one("batch_to_space_nd", DType.F32, x.shape, block_shape=block, crops=none),
        ):
            if rank < 5:
                ((got,),) = litert(to_tflite(graph), [[x]])
                np.testing.assert_array_equal(got, evaluate(graph, [x])[0])
            else:
                with pytest.raises(NetcError, match=r"no TFLite form of .*_nd with more than 4 dimensions"):
                    to_tflite(graph)
