"""Operations made wrong: shape rules refuse them in a message, or mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Operator
from netc.compiler.types import DType, TensorType

from .checks import WrongError
from .maker import Network, UnfitError
from .source import Source, choice

_SIZES = (0, 1, 2, 3, 7)
_NUMBERS = (0, -1, 1, 2, 7, -9)


def altered(source: Source, network: Network) -> tuple[Operator, tuple[TensorType, ...], dict[str, Any]]:
    """The last operation of a network with an attribute, or the type of an operand, changed."""
    op = next((o for o in reversed(network.graph.operations) if o.operands), None)
    if op is None:
        raise UnfitError
    types = [v.type.dense() for v in op.operands]
    attributes = dict(op.attributes)
    for _ in range(choice(source, (1, 1, 2))):
        if attributes and (not types or source.number(0, 1)):
            name = choice(source, sorted(attributes))
            attributes[name] = _changed(source, attributes[name])
        elif types:
            at = source.number(0, len(types) - 1)
            types[at] = _retyped(source, types[at])
    return op.operator, tuple(types), attributes


def _changed(source: Source, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(choice(source, _NUMBERS))
    if isinstance(value, str):
        return choice(source, ("same", "valid", "f32", "i8", "i1", "nonsense"))
    if isinstance(value, tuple):
        return _changed_tuple(source, value)
    return value


def _changed_tuple(source: Source, value: tuple[Any, ...]) -> tuple[Any, ...]:
    items = list(value)
    kind = source.number(0, 2)
    if kind == 0 and items:
        at = source.number(0, len(items) - 1)
        items[at] = _changed(source, items[at])
    elif kind == 1 and items:
        del items[-1]
    else:
        items.append(items[-1] if items else choice(source, _NUMBERS))
    return tuple(items)


def _retyped(source: Source, given: TensorType) -> TensorType:
    """Another shape or element type."""
    shape = list(given.shape)
    kind = source.number(0, 3)
    if kind == 0 and shape:
        shape[source.number(0, len(shape) - 1)] = choice(source, _SIZES)
    elif kind == 1 and shape:
        del shape[source.number(0, len(shape) - 1)]
    elif kind == 2 and len(shape) < 6:
        shape.insert(source.number(0, len(shape)), choice(source, _SIZES))
    else:
        return TensorType(choice(source, tuple(DType)), given.shape)
    return TensorType(given.dtype, tuple(shape))


def check_refusal(operator: Operator, types: tuple[TensorType, ...], attributes: Mapping[str, Any]) -> bool:
    """Raise `WrongError` unless an operation is refused (False), or its meaning has the type that is said (True)."""
    what = f"{operator.name}({', '.join(map(str, types))}) {attributes}"
    try:
        complete = operator.complete(attributes)
        operator.check_arity(len(types))
        results = operator.result_types(types, complete)
    except NetcError:
        return False
    except Exception as error:
        raise WrongError(f"{what}: its shape rule fails: {type(error).__name__}: {error}") from error
    if any(t.size > 1 << 20 for t in results):
        return True
    arrays = tuple(np.ones(t.shape, t.dtype.numpy) for t in types)
    try:
        with np.errstate(all="ignore"):
            values = operator.evaluate(arrays, complete)
    except NetcError:
        return False
    except Exception as error:
        raise WrongError(f"{what} is {results[0]}, but evaluation fails: {type(error).__name__}: {error}") from error
    for value, type_ in zip(values, results, strict=True):
        array = np.asarray(value)
        if array.shape != type_.shape or array.dtype != type_.dtype.numpy:
            raise WrongError(f"{what} is {type_}, but evaluates to {array.dtype}{list(array.shape)}")
    return True
