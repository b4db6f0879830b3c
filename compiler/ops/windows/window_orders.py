"""In which orders of their axes convolutions and pooling can work, though their kernels want the channels last."""

from __future__ import annotations

import math
from string import ascii_lowercase

from ...graph.ir import Attributes, Builder, Value
from ...types import TensorType
from ..facets import PERMUTED, Permuted
from ..gradients import reshaped
from ..moves.axes import Permutation
from ..products.contract import Contract, Labels
from ..products.dense import Dense
from ..products.product_orders import has_product
from .convolution import Convolution
from .pooling import AvgPool, MaxPool

Operands = tuple[TensorType, ...]


def _convolution(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """A filter of one element is a product along any axis; filters of single channels may take samples for channels."""
    x, weight, *_ = operands
    if math.prod(weight.shape[:-2]) == 1 and _is_plain(attributes):
        return _along_any_axis(operands, permutation)
    if attributes["groups"] == x.shape[-1] == weight.shape[-1]:
        return _samples_as_channels(operands, attributes, permutation, f"conv{x.rank - 2}d")
    return None


def _is_plain(attributes: Attributes) -> bool:
    """True for windows that take each place of the input once, and nothing around it."""
    steps = (*attributes["strides"], *attributes["dilations"])
    padding = attributes["padding"]
    around = () if isinstance(padding, str) else tuple(n for pair in padding for n in pair)
    return attributes["groups"] == 1 and set(steps) <= {1} and not any(around)


def _along_any_axis(operands: Operands, permutation: Permutation) -> Permuted | None:
    """The channels stand anywhere, and those of the result take their place."""
    x, weight, *others = operands
    rank = x.rank
    letters = ascii_lowercase[: rank - 1] + "y"
    read = "".join(letters[d] for d in permutation)
    labels = Labels(read, "yz", read.replace("y", "z"))
    sizes = {**dict(zip(letters, x.shape, strict=True)), "z": weight.shape[-1]}
    if not has_product(labels, sizes):
        return None
    place = permutation.index(rank - 1)
    is_layer = place == rank - 1

    def emit(b: Builder, values: tuple[Value, ...]) -> Value:
        data, filters, *bias = values
        matrix = reshaped(b, filters, weight.shape[-2:])
        settings = {} if is_layer else labels.attributes()
        total = b.emit("dense" if is_layer else "contract", data, matrix, **settings)
        for value in bias:
            shape = (1,) * place + value.type.shape + (1,) * (rank - 1 - place)
            total = b.emit("add", total, reshaped(b, value, shape))
        return total

    orders = (permutation, *(tuple(range(o.rank)) for o in (weight, *others)))
    return Permuted({}, permutation, orders, Dense() if is_layer else Contract(), emit)


def _samples_as_channels(
    operands: Operands, attributes: Attributes, permutation: Permutation, name: str
) -> Permuted | None:
    """Samples stand beside the channels, which are handled each by itself: as if they were so many channels more."""
    x, *others = operands
    if permutation != (*range(1, x.rank - 1), 0, x.rank - 1):
        return None
    count = x.shape[0]

    def emit(b: Builder, values: tuple[Value, ...]) -> Value:
        data, *rest = values
        *places, samples, channels = data.type.shape
        image = reshaped(b, data, (1, *places, samples * channels))
        settings = {**attributes, "groups": samples * channels} if "groups" in attributes else attributes
        result = b.emit(name, image, *(_repeated(b, v, count) for v in rest), **settings)
        return reshaped(b, result, (*result.type.shape[1:-1], samples, channels))

    return Permuted(attributes, permutation, (permutation, *(tuple(range(o.rank)) for o in others)), emit=emit)


def _repeated(b: Builder, value: Value, count: int) -> Value:
    """A weight whose last dimension is repeated as a whole."""
    *lead, channels = value.type.shape
    spread = b.emit("broadcast_to", reshaped(b, value, (*lead, 1, channels)), shape=(*lead, count, channels))
    return reshaped(b, spread, (*lead, count * channels))


def _max_pool(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    return _samples_as_channels(operands, attributes, permutation, MaxPool.name)


def _avg_pool(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    return _samples_as_channels(operands, attributes, permutation, AvgPool.name)


PERMUTED.add(_convolution, Convolution)
PERMUTED.add(_max_pool, MaxPool)
PERMUTED.add(_avg_pool, AvgPool)
