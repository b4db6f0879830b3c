"""The words in which `edgetpu_compiler` says what becomes of an operator, and what netc adds to them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.Enum):
    """Status column of the compiler's operator log, to the letter."""

    MAPPED = "Mapped to Edge TPU"
    SECOND_SUBGRAPH = "More than one subgraph is not supported"
    LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    DATA_TYPE = "Operation is working on an unsupported data type"
    NOT_SUPPORTED = "Operation not supported"
    VERSION = "Operation version not supported"
    RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
    NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
    TWO_DIMENSIONAL = "For example, a fully-connected or softmax layer with 2D output"
    STRIDE = "Only Strided-Slice with unitary strides supported"
    IMPRECISE = "Image-interpolation layer won't run precisely enough on Edge TPU"


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an operator stays on the CPU: the compiler's words, the cause in the user's terms, what would map instead."""

    status: Status
    cause: str
    rewrite: str = ""
    common: bool = False
    """Operators of other kinds with this objection have one cause with it."""
