"""Small models that show what a line of an operator log says.

A log names operators and statuses, not shapes. For each of its lines whose cause is known from the log (the kind of
operator, the release, or a remark in the thread), the smallest model with that cause is made, so that the prediction
can be compared with the status. Lines without a known cause give an ordinary operator, which maps.
"""

from __future__ import annotations

from collections.abc import Mapping

from netc.compiler.edgetpu import ModelFacts, OperatorFacts, Release, Status, TensorFacts

_IMAGE = (1, 16, 16, 16)
_FLOAT_BY_NATURE = ("DEQUANTIZE", "CUSTOM")
_NEW_VERSIONS = {"RESIZE_NEAREST_NEIGHBOR": 3, "RESIZE_BILINEAR": 3, "FULLY_CONNECTED": 9}
"""Versions that converters of TensorFlow 2.3 and later write (FULLY_CONNECTED: on a tensor of rank 3)."""


def witness(kind: str, status: Status, remark: str) -> ModelFacts:
    """A model whose last operator has the cause that the log gives, or nothing strange if it gives none."""
    if status is Status.LIMITATION:
        return _model(_operator(kind, source="FLOAT32" if kind == "QUANTIZE" else None))
    if status is Status.SECOND_SUBGRAPH:
        return _behind_a_break(kind)
    if status is Status.RANK:
        return _model(_operator(kind, shape=(30, 16, 16, 16)))
    if status is Status.NOT_CONSTANT:
        return _model(_operator(kind, constant=False))
    if status is Status.TWO_DIMENSIONAL:
        return _model(_operator(kind, rows=7))
    if status is Status.STRIDE:
        return _model(_operator(kind, strides=2))
    if status is Status.IMPRECISE:
        return _model(_operator(kind, factor=8))
    if status is Status.VERSION:
        return _model(_operator(kind, version=_NEW_VERSIONS[kind]))
    floats = status is Status.DATA_TYPE and (kind in _FLOAT_BY_NATURE or "float" in remark or kind in _LAYERS)
    return _model(_operator(kind, dtype="FLOAT32" if floats else "INT8"))


_LAYERS = ("RESHAPE", "LOGISTIC", "FULLY_CONNECTED")
"""Seen with an unsupported type only in logs in which no operator maps: float models."""


def release_of(version: str | None, status: Status) -> Release:
    """The log's release; where it is unknown, the last one that gives the status."""
    if version:
        return Release.parse(version)
    return {Status.IMPRECISE: Release(2, 1), Status.NOT_SUPPORTED: Release(15, 0)}.get(status, Release(16, 0))


def _model(*operators: OperatorFacts) -> ModelFacts:
    return ModelFacts("log", operators, operators[0].activations, operators[-1].outputs)


def _behind_a_break(kind: str) -> ModelFacts:
    first = _operator("RELU")
    broken = TensorFacts(_IMAGE, "INT8")
    fault = OperatorFacts("LEAKY_RELU", first.outputs, (broken,))
    return _model(first, fault, _operator(kind, data=broken))


def _operator(
    kind: str,
    *,
    data: TensorFacts | None = None,
    shape: tuple[int, ...] = _IMAGE,
    dtype: str = "INT8",
    source: str | None = None,
    constant: bool = True,
    rows: int = 1,
    strides: int = 1,
    factor: int = 2,
    version: int = 1,
) -> OperatorFacts:
    """An operator of a kind, ordinary but for what is asked."""
    data = data or TensorFacts(shape, source or dtype)
    output = TensorFacts(shape, dtype)
    extra: tuple[TensorFacts, ...] = ()
    if kind == "FULLY_CONNECTED":
        output = TensorFacts((rows, 16), dtype)
        extra = (TensorFacts((16, 4096), dtype, constant=constant),)
    elif kind in _KERNELS:
        extra = (TensorFacts(_KERNELS[kind], dtype, constant=constant),)
    elif kind.startswith("RESIZE_"):
        output = TensorFacts((1, 16 * factor, 16 * factor, 16), dtype)
    elif kind == "STRIDED_SLICE":
        extra = tuple(TensorFacts((4,), "INT32", constant=True, values=(v,) * 4) for v in (0, 8, strides))
    elif kind == "DEQUANTIZE":
        data = TensorFacts(shape, "INT8")
    elif kind in ("SOFTMAX",):
        data = output = TensorFacts((1, 16), dtype)
    return OperatorFacts(kind, (data, *extra), (output,), version)


_KERNELS: Mapping[str, tuple[int, ...]] = {
    "CONV_2D": (16, 3, 3, 16),
    "DEPTHWISE_CONV_2D": (1, 3, 3, 16),
}
