"""Names for the weights of a file: paths of modules, as PyTorch calls its parameters, wherever the file tells them."""

from __future__ import annotations

import ast
import re
from typing import Any

_ROLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "Conv",
            "ConvTranspose",
            "Gemm",
            "MatMul",
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
        ),
        ("", "weight", "bias"),
    ),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "PRelu": ("", "weight"),
}
"""What inputs of operators are to a module of PyTorch, by their place."""
_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's newer exporter notes the modules in which a node was made, outermost first."""


_SPOKEN = re.compile(r"(?!.*_\d+$)(?=.*_)[A-Za-z][A-Za-z_\d]*", re.ASCII)
"""Names of tensors that a module holds itself, such as class_token; those that exporters make up end in numbers."""


def weight_name(proto: Any, place: int, name: str) -> str | None:
    """The path of the weight `name` that a node takes at a place; None if nothing tells it."""
    path = re.sub(r":\d+$", "", name).strip("/").replace("/", ".")
    if "." in path and re.fullmatch(r"[A-Za-z_][\w.\-]*", path, re.ASCII):
        return path
    if _SPOKEN.fullmatch(path) and not _ROLES.get(proto.op_type):
        return path
    roles = _ROLES.get(proto.op_type, ())
    scope = _scope(proto)
    if scope is None or place >= len(roles) or not roles[place]:
        return None
    return f"{scope}.{roles[place]}"


def _scope(proto: Any) -> str | None:
    """The path of the module that a node belongs to."""
    for entry in proto.metadata_props:
        if entry.key == _SCOPES:
            return _innermost(entry.value)
    parts = proto.name.split("/")[1:-1]
    path: list[str] = []
    for part in parts:
        if path and part.startswith(path[-1] + "."):
            path.pop()  # a list of modules: its items carry its name
        path.append(part)
    found = ".".join(path)
    return found if re.fullmatch(r"[\w.\-]+", found, re.ASCII) else None


def _innermost(scopes: str) -> str | None:
    try:
        names = ast.literal_eval(scopes)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(names, list) or len(names) < 2 or not isinstance(names[-2], str):
        return None
    return names[-2] if re.fullmatch(r"[\w.\-]+", names[-2], re.ASCII) else None
