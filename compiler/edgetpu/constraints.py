"""Constraints of single operators: each check returns an objection, or None where the operator passes.

Sources: the tables of supported operations in the vendor's documentation, logs of the compiler that people published,
and pairs of models before and after compilation; docs/edgetpu.md tells which is which.
"""

from __future__ import annotations

from collections.abc import Callable

from .facts import OperatorFacts, TensorFacts
from .release import Release
from .status import Objection, Status

Check = Callable[[OperatorFacts, Release], Objection | None]

MEAN_POSITIONS = 1 << 15
"""A mean over [256, 128] places was seen to stay on the CPU, one over [64, 128] to map."""
SOFTMAX_ELEMENTS = 1 << 14
"""The largest softmax seen mapped (16.0); the documentation says 16,000."""
RESIZE_FACTOR = 2.0
"""The largest factor of interpolation seen mapped; 15.5 and 33 were not."""


def limited(cause: str, rewrite: str = "") -> Objection:
    """An objection for which the compiler gives no reason."""
    return Objection(Status.LIMITATION, cause, rewrite)


def rank(op: OperatorFacts, release: Release) -> Objection | None:
    """Only the three innermost dimensions may be larger than 1."""
    repeated = op.kind == "PACK" and len(op.inputs) > 1 and len(set(op.inputs)) == 1
    for tensor in (*op.activations, *op.outputs):
        if any(size > 1 for size in tensor.shape[:-3]):
            return Objection(
                Status.RANK,
                f"{tensor} is larger than 1 outside its three innermost dimensions",
                "a PACK of one tensor and a RESHAPE repeat places: write resize_nearest by 2"
                if repeated
                else "use batch 1, and fold other outer dimensions into the spatial ones",
            )
    return None


def constant_parameters(op: OperatorFacts, release: Release) -> Objection | None:
    """Weights and biases must be constants."""
    for tensor in op.inputs[1:3]:
        if tensor is not None and not tensor.constant:
            return Objection(
                Status.NOT_CONSTANT,
                f"{tensor.name or 'a parameter'} is computed or given at run time",
                "make the weights parameters of the network",
            )
    return None


def single_row(op: OperatorFacts, release: Release) -> Objection | None:
    """Dense layers give one row."""
    output = op.output
    if output.positions > 1:
        return Objection(
            Status.TWO_DIMENSIONAL,
            f"the dense layer is applied at {output.positions} places",
            "write a convolution with a 1x1 kernel",
        )
    return None


def single_softmax(op: OperatorFacts, release: Release) -> Objection | None:
    """A softmax works on one row."""
    if op.output.positions > 1:
        return Objection(
            Status.TWO_DIMENSIONAL,
            f"the softmax has {op.output.positions} rows",
            "leave it to the host: it doesn't change which class is the largest",
        )
    return None


def same_dilation(op: OperatorFacts, release: Release) -> Objection | None:
    """Windows larger than 1 in both directions are dilated equally (at all from 13 on, where depthwise)."""
    height, width = op.number("DilationHFactor", 1), op.number("DilationWFactor", 1)
    weight = op.input(1)
    flat = weight is not None and len(weight.shape) == 4 and 1 in weight.shape[1:3]
    if height != width and not flat:
        return limited(f"dilations {height} and {width} differ", "use the same dilation in both directions")
    return None


def whole_groups(op: OperatorFacts, release: Release) -> Objection | None:
    """Convolutions have one group."""
    data, weight = op.input(0), op.input(1)
    if data is not None and weight is not None and data.shape and data.channels != weight.channels:
        return limited("the convolution is grouped", "use a depthwise or an ordinary convolution")
    return None


def no_activation(op: OperatorFacts, release: Release) -> Objection | None:
    """No activation is part of the operator."""
    if op.fused_activation != "NONE":
        return limited(
            f"{op.fused_activation} is part of the operator", "write the activation as an operator of its own"
        )
    return None


def default_format(op: OperatorFacts, release: Release) -> Objection | None:
    """Weights are stored row by row."""
    if op.options.get("WeightsFormat", "DEFAULT") != "DEFAULT":
        return limited("the weights are stored shuffled", "convert the model for 8-bit weights in the default format")
    return None


def zero_constant_operand(op: OperatorFacts, release: Release) -> Objection | None:
    """A constant may be joined on only if it is all zero and the only other input."""
    constants = op.constants
    if constants and (len(op.inputs) != 2 or len(constants) != 1 or not constants[0].zero):
        return limited("a constant is concatenated", "concatenate computed tensors only, or pad with zeros")
    return None


def axes(op: OperatorFacts) -> tuple[int, ...] | None:
    """Axes of a reduction counted from the back (-1 is the innermost); None if they are not known."""
    operand, given = op.input(0), op.input(1)
    if operand is None or given is None or given.values is None:
        return None
    dimensions = len(operand.shape)
    return tuple(a - dimensions if a >= 0 else a for a in given.values if -dimensions <= a < dimensions)


def _spans_batch(op: OperatorFacts, axis: int) -> bool:
    operand = op.activations[0] if op.activations else None
    return operand is not None and len(operand.shape) > 3 and axis == -len(operand.shape)


def not_over_batch(op: OperatorFacts, release: Release) -> Objection | None:
    """Reductions leave the batch alone."""
    if any(_spans_batch(op, a) for a in axes(op) or ()):
        return limited("the reduction runs over the batch", "reduce over the spatial dimensions or the channels")
    return None


def mean_size(op: OperatorFacts, release: Release) -> Objection | None:
    """Means over channels need a multiple of four; means over very many places stay on the CPU."""
    operand, reduced = op.input(0), axes(op)
    if operand is None or reduced is None:
        return None
    if -1 in reduced and operand.channels % 4:
        return limited(f"the mean runs over {operand.channels} channels", "make the channels a multiple of four")
    places = 1
    for axis in reduced:
        places *= operand.shape[axis] if axis != -1 else 1
    if places >= MEAN_POSITIONS:
        return limited(f"the mean runs over {places} places", "split the tensor, or take the mean in two steps")
    return None


def axis_not_batch(op: OperatorFacts, release: Release) -> Objection | None:
    """Splitting (into more than one part), stacking and joining happen inside a sample."""
    operand = op.activations[0] if op.activations else None
    axis = op.number("Axis", -1)
    if op.kind == "SPLIT":
        if len(op.outputs) == 1:
            return None
        given = op.input(0)
        axis = given.values[0] if given is not None and given.values else -1
    if operand is not None and len(operand.shape) > 3 and axis in (0, -len(operand.shape)):
        return limited("the operator works along the batch", "work along height, width or channels")
    return None


def padding_not_batch(op: OperatorFacts, release: Release) -> Objection | None:
    """Padding leaves the batch alone, and up to 12 the channels too."""
    operand, given = op.input(0), op.input(1)
    if operand is None or given is None or given.values is None or len(operand.shape) < 4:
        return None
    if any(given.values[:2]):
        return limited("the batch is padded", "pad height, width or channels")
    return None


def unit_strides(op: OperatorFacts, release: Release) -> Objection | None:
    """Slices take every element."""
    strides = op.input(3)
    if strides is not None and strides.values is not None and any(s != 1 for s in strides.values):
        return Objection(
            Status.STRIDE,
            "the slice leaves elements out: strides " + ", ".join(map(str, strides.values)),
            "use a convolution or pooling with a stride instead",
        )
    if op.number("EllipsisMask") or op.number("NewAxisMask"):
        return limited("the slice has an ellipsis or a new axis", "write out begin and end, and reshape")
    return None


def moderate_scaling(op: OperatorFacts, release: Release) -> Objection | None:
    """Interpolation is mapped up to a factor of two."""
    operand, output = op.input(0), op.output
    if operand is None or len(operand.shape) != 4 or len(output.shape) != 4:
        return None
    factor = max(o / max(i, 1) for i, o in zip(operand.shape[1:3], output.shape[1:3], strict=True))
    if factor <= RESIZE_FACTOR:
        return None
    status = Status.IMPRECISE if Release(2, 0) <= release < Release(14, 0) else Status.LIMITATION
    return Objection(
        status,
        f"the image grows {factor:g} times; more than {RESIZE_FACTOR:g} times is too imprecise",
        "resize by two several times, use a transposed convolution, or resize after the model on the CPU",
    )


def softmax_size(op: OperatorFacts, release: Release) -> Objection | None:
    """One row of bounded length."""
    output = op.output
    if output.channels > SOFTMAX_ELEMENTS:
        return limited(f"softmax over {output.channels} elements", f"use {SOFTMAX_ELEMENTS} classes at most")
    return None


def channel_alpha(op: OperatorFacts, release: Release) -> Objection | None:
    """Slopes differ between channels only."""
    alpha = op.input(1)
    if alpha is not None and any(size > 1 for size in alpha.shape[:-1]):
        return limited("the slopes differ between places", "use one slope per channel")
    return None


def is_floating(tensor: TensorFacts) -> bool:
    """True for floating-point elements."""
    return tensor.dtype.startswith(("FLOAT", "BFLOAT"))
