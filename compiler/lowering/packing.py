"""The weights region of a module, filled: what the set-up graph gives, where the kernels will read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..arrays import aligned_bytes, move
from ..errors import InternalError
from ..graph.interpreter import evaluate_groups, evaluate_rows
from ..graph.ir import Array, Graph, Operation, Value
from ..modules.module import Module

PART_BYTES = 1 << 20
"""Of a large output, at a time: the next parts lie where the last ones did, in the caches."""


@runtime_checkable
class ReadOnce(Protocol):
    """Parameters that can be had in memory which is let go while they are packed (`arrays.Scratch`)."""

    def to_be_read_once(self) -> Mapping[str, Array]:
        """The same parameters, each of which is read anew when it is looked up."""
        ...


def pack_weights(module: Module, params: Mapping[str, Array], region: Array | None = None) -> Array:
    """The weights region: the outputs of the set-up graph, one after the other so that few are in memory at a time.

    The largest comes first, while the region takes no memory yet. `region` is one to fill again.
    """
    if region is None:
        region = aligned_bytes(module.weights_bytes)
    outputs = module.setup.outputs
    order = sorted(range(len(outputs)), key=lambda i: -outputs[i].type.bytes)
    for offset, array in _produced(module, params, order):
        move(array, region[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape))
    return region


def weights_in_order(module: Module, params: Mapping[str, Array]) -> Iterator[tuple[int, Array]]:
    """The same piece by piece: the byte at which each output lies, and its values, in the order of these bytes.

    What lies between them is zero.
    """
    offsets = module.weight_offsets
    return _produced(module, params, sorted(range(len(offsets)), key=offsets.__getitem__))


def _produced(module: Module, params: Mapping[str, Array], order: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """Offsets and values of the outputs with these numbers; of some, one part after the other."""
    if isinstance(params, ReadOnce):
        params = params.to_be_read_once()
    setup = module.setup
    last = [_last_by_rows(setup, setup.outputs[i]) for i in order]
    needed = [op.operands if op else (setup.outputs[i],) for i, op in zip(order, last, strict=True)]
    for i, op, arrays in zip(order, last, evaluate_groups(setup, needed, params), strict=True):
        offset = module.weight_offsets[i]
        end = offset + setup.outputs[i].type.bytes
        if end > module.weights_bytes:
            raise InternalError(f"packed weight at {offset} ends at {end}, beyond {module.weights_bytes} bytes")
        for part in _by_rows(op, arrays) if op else arrays:
            yield offset, part
            offset += part.nbytes


def _last_by_rows(setup: Graph, output: Value) -> Operation | None:
    """The operation that makes an output, if it can be carried out row by row and its rows are many bytes."""
    op = setup.producers[output]
    is_large = output.type.bytes > PART_BYTES and len(op.operands) > 0
    return op if is_large and op.operator.works_by_rows(tuple([v.type for v in op.operands])) else None


def _by_rows(op: Operation, operands: tuple[Array, ...]) -> Iterator[Array]:
    """The result of an operation, some of its rows at a time."""
    rows = op.result.type.shape[0]
    step = max(1, PART_BYTES * rows // op.result.type.bytes)
    for start in range(0, rows, step):
        yield evaluate_rows(op, operands, start, min(start + step, rows))
