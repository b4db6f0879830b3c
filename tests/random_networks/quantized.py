"""Random networks in 8-bit integers: as machine code, and in LiteRT."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from netc.compiler.errors import NetcError
from netc.compiler.graph import Array, evaluate
from netc.compiler.quantization import Calibration, observation_graph, prepare, quantize
from netc.compiler.tflite import to_tflite
from tests.quantized_nets import integers

from .checks import WrongError
from .children import DiedError, in_child
from .maker import Network

QUANTIZABLE = (
    *("conv2d", "relu", "add", "dense", "max_pool", "avg_pool", "concat", "pad", "reshape", "transpose", "slice"),
    *("relu6", "mul", "sub", "batch_norm", "sigmoid", "tanh", "reduce_mean", "softmax", "leaky_relu", "clamp"),
    *("hard_sigmoid", "reduce_max", "reduce_sum", "transpose_conv2d", "resize_bilinear", "resize_nearest", "conv1d"),
    "matmul",
)
"""Operators that may have an integer form."""
LITERT: Any = (
    importlib.import_module("ai_edge_litert.interpreter") if importlib.util.find_spec("ai_edge_litert") else None
)


def integer_network(network: Network) -> Network | None:
    """The network in integers, calibrated on its own inputs; None where it has no such form."""
    try:
        prepared = prepare(network.graph, network.params)
        calibration = Calibration(prepared)
        inputs = list(network.inputs.values())
        calibration.add(inputs, evaluate(observation_graph(prepared), inputs))
        graph = quantize(prepared, calibration.ranges("minmax"))
    except NetcError:
        return None
    return Network(
        graph, {v.name or "": np.asarray(integers(network.inputs[v.name or ""], v.type)) for v in graph.inputs}, {}
    )


def check_litert(network: Network) -> bool:
    """Raise `WrongError` unless LiteRT gives the same bytes; False where it refuses the network, or dies of it."""
    if LITERT is None:
        return False
    try:
        model = to_tflite(network.graph)
        results = in_child(lambda: _run(model, network))
    except (NetcError, DiedError):
        return False
    if isinstance(results, str):
        return False
    expected = evaluate(network.graph, network.inputs)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        if result.shape != wanted.shape or result.tobytes() != wanted.tobytes():
            raise WrongError(f"LiteRT: output {number} is {result.tolist()}, not {wanted.tolist()}")
    return True


def _run(model: bytes, network: Network) -> list[Array] | str:
    """The outputs of LiteRT's reference kernels, or what it says against the model."""
    try:
        reference = LITERT.OpResolverType.BUILTIN_REF
        interpreter = LITERT.Interpreter(model_content=model, experimental_op_resolver_type=reference)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], network.inputs[details["name"]])
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        return str(error)
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]
