"""Operators that ONNX defines as functions of others, and attributes that refer to those of a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .library import library, schema_of
from .values import Tensor, UnsupportedError


def resolved(proto: Any, bound: Mapping[str, Any]) -> list[Any]:
    """The attributes of a node; those that refer to a function's have its values, or are left out."""
    found: list[Any] = []
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            found.append(attribute)
        elif attribute.ref_attr_name in bound:
            copy = type(attribute)()
            copy.CopyFrom(bound[attribute.ref_attr_name])
            copy.name = attribute.name
            found.append(copy)
    return found


def defaults_of(proto: Any, opset: int, domain: str) -> dict[str, Any]:
    """The attributes that a node's operator has unless it is told otherwise, by name."""
    schema = schema_of(proto.op_type, opset, domain)
    known = {name: a.default_value for name, a in schema.attributes.items()} if schema is not None else {}
    return {name: value for name, value in known.items() if value is not None and value.name}


def body_of(proto: Any, opset: int, domain: str, inputs: Sequence[Tensor | None], attributes: Sequence[Any]) -> Any:
    """The function that defines a node's operator, for these types of inputs. Raises `UnsupportedError` without one."""
    onnx = library()
    schema: Any = schema_of(proto.op_type, opset, domain)
    call = onnx.NodeProto()
    call.CopyFrom(proto)
    del call.attribute[:]
    call.attribute.extend(attributes)
    del call.input[len(inputs) :]
    try:
        if domain and not schema.has_context_dependent_function:
            return schema.function_body
        text = None
        if schema.has_context_dependent_function:
            types = [_type_of(tensor) for tensor in inputs]
            for version in _versions(schema.context_dependent_function_opset_versions, opset):
                given = version, call.SerializeToString(), types
                text = text or schema.get_context_dependent_function_with_opset_version(*given)
        else:
            for version in _versions(schema.function_opset_versions, opset):
                text = text or schema.get_function_with_opset_version(version)
        if not text:
            raise UnsupportedError(f"{proto.op_type} is not supported in this form")
        return onnx.FunctionProto.FromString(text) if isinstance(text, bytes) else text
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(f"{proto.op_type} can't be written as a function: {error}") from None


def _versions(written: Sequence[int], opset: int) -> list[int]:
    """Operator sets to ask for a function, the best first.

    It is written in operators of a set that may be older than the node's; ONNX gives it for a later set only where
    none of these has changed since. It says which set it means, so that it is as good for the node.
    """
    return [opset, *sorted((version for version in written if version < opset), reverse=True)]


def _type_of(tensor: Tensor | None) -> bytes:
    """The serialized type of an input, or of none."""
    onnx = library()
    if tensor is None or (tensor.items is not None and not tensor.items):
        return bytes(onnx.TypeProto().SerializeToString())
    if tensor.items is not None:
        kind = onnx.TypeProto.FromString(_type_of(tensor.items[0]))
        return bytes(onnx.helper.make_sequence_type_proto(kind).SerializeToString())
    code = onnx.helper.np_dtype_to_tensor_dtype(tensor.type.dtype.numpy)
    return bytes(onnx.helper.make_tensor_type_proto(code, tensor.type.shape).SerializeToString())
