"""Small float networks, one for each rule of quantization, and what it takes to quantize them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.quantization import Calibration, Scheme, observation_graph, prepare, quantize
from netc.compiler.types import DType, TensorType

Emit = Callable[["Net", Value], Value]


@dataclass
class Net:
    """A network of one input; `emit` adds what comes after it."""

    shape: tuple[int, ...]
    emit: Emit
    scheme: Scheme = field(default_factory=Scheme)

    def graph(self) -> Graph:
        self.b = GraphBuilder("net")
        self.random = np.random.default_rng(11)
        x = self.b.input("x", TensorType(DType.F32, self.shape))
        return self.b.finish([self.emit(self, x)])

    def samples(self) -> NDArray[np.float32]:
        return (np.random.default_rng(5).standard_normal(self.shape) * 1.7).astype(np.float32)

    def constant(self, *shape: int, scale: float = 1.0) -> Value:
        return self.b.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def conv(self, x: Value, *shape: int, bias: bool = True, groups: int = 1, **window: Any) -> Value:
        weight = self.constant(*shape, scale=0.2)
        operands = [weight, self.constant(shape[-1])] if bias else [weight]
        given = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "groups": groups, **window}
        return self.b.emit("conv2d", x, *operands, **given)

    def pool(self, name: str, x: Value, padding: object) -> Value:
        return self.b.emit(name, x, size=(3, 3), strides=(2, 2), padding=padding)


def calibrated(graph: Graph, x: NDArray[np.float32]) -> tuple[Graph, Calibration]:
    """The prepared graph, and its calibration on one input."""
    prepared = prepare(graph, {})
    calibration = Calibration(prepared)
    calibration.add([x], evaluate(observation_graph(prepared), [x]))
    return prepared, calibration


def quantized(net: Net, method: str = "minmax") -> Graph:
    """The integer network."""
    prepared, calibration = calibrated(net.graph(), net.samples())
    return quantize(prepared, calibration.ranges(method), net.scheme)


def integers(x: NDArray[np.float32], type_: TensorType) -> NDArray[Any]:
    """Floats as elements of a quantized input."""
    given = type_.quantization
    if given is None:
        return x
    info = np.iinfo(str(type_.dtype.numpy))
    return np.asarray(np.clip(np.rint(x / given.scale) + given.zero_point, info.min, info.max), type_.dtype.numpy)


def _dense(n: Net, x: Value, units: int = 24) -> Value:
    return n.b.emit("dense", x, n.constant(x.type.shape[-1], units, scale=0.3), n.constant(units))


def _transposed(n: Net, x: Value) -> Value:
    operands = (n.constant(3, 3, 8, 4, scale=0.2), n.constant(4))
    y = n.b.emit("transpose_conv2d", x, *operands, size=(18, 18), strides=(2, 2), padding=((0, 1), (0, 1)))
    return n.b.emit("relu", y)


def _sequence(n: Net, x: Value) -> Value:
    weight = n.constant(3, 8, 4, scale=0.2)
    return n.b.emit("conv1d", x, weight, strides=(2,), padding="same", dilations=(1,), groups=1)


def _heads(n: Net, x: Value) -> Value:
    """Attention of two heads over the rows of a picture: products of two activations."""
    q, k, v = (_dense(n, x, 8) for _ in range(3))
    weights = n.b.emit("softmax", n.b.emit("matmul", q, k, transpose_b=True), axis=-1)
    return n.b.emit("matmul", weights, v)


def _moved(n: Net, x: Value) -> Value:
    y = n.b.emit("transpose", x, permutation=(0, 2, 1, 3))
    y = n.b.emit("slice", y, begin=(0, 1, 1, 0), size=(1, 4, 6, 4))
    return n.b.emit("reshape", y, shape=(4, 24))


PICTURE = (1, 9, 9, 8)
EXPLICIT = ((2, 1), (0, 2))
NETS: dict[str, Net] = {
    "conv": Net(PICTURE, lambda n, x: n.b.emit("relu6", n.conv(x, 3, 3, 8, 16))),
    "conv, one scale": Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 8, 16), Scheme(per_channel=False)),
    "conv without bias": Net(PICTURE, lambda n, x: n.conv(x, 1, 1, 8, 16, bias=False)),
    "conv, dilated": Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 8, 4, dilations=(2, 2))),
    "conv, padded": Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 8, 4, padding=EXPLICIT, strides=(2, 2))),
    "conv, grouped": Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 4, 16, groups=2)),
    "depthwise": Net(PICTURE, lambda n, x: n.b.emit("relu", n.conv(x, 3, 3, 1, 16, groups=8, strides=(2, 2)))),
    "transposed conv": Net(PICTURE, _transposed),
    "sequence": Net((2, 9, 8), _sequence),
    "dense": Net((4, 32), _dense),
    "dense of rank 3": Net((2, 4, 32), _dense),
    "dense, scale for each unit": Net((4, 32), _dense, Scheme(dense_channels=True)),
    "add relu": Net(PICTURE, lambda n, x: n.b.emit("relu", n.b.emit("add", x, n.b.emit("relu", x)))),
    "add constant": Net(PICTURE, lambda n, x: n.b.emit("add", x, n.constant(8))),
    "sub tanh": Net(PICTURE, lambda n, x: n.b.emit("sub", x, n.b.emit("tanh", x))),
    "swish": Net(PICTURE, lambda n, x: n.b.emit("mul", x, n.b.emit("sigmoid", x))),
    "hard swish": Net(PICTURE, lambda n, x: n.b.emit("mul", x, n.b.emit("hard_sigmoid", x))),
    "products of activations": Net((1, 2, 6, 12), _heads),
    "product with a constant": Net((2, 5, 6), lambda n, x: n.b.emit("matmul", n.constant(4, 5), x)),
    "transposed product": Net((2, 5, 6), lambda n, x: n.b.emit("matmul", x, x, transpose_a=True)),
    "leaky relu": Net(PICTURE, lambda n, x: n.b.emit("leaky_relu", x, alpha=0.1)),
    "mean": Net((2, 7, 7, 32), lambda n, x: n.b.emit("reduce_mean", x, axes=(1, 2))),
    "sum": Net((2, 7, 7, 32), lambda n, x: n.b.emit("reduce_sum", x, axes=(1,), keepdims=True)),
    "layer norm": Net((2, 10, 24), lambda n, x: n.b.emit("normalize", x, axes=(-1,))),
    "instance norm": Net((2, 6, 7, 12), lambda n, x: n.b.emit("normalize", x, axes=(1, 2))),
    "group norm": Net((2, 6, 7, 12), lambda n, x: n.b.emit("normalize", x, axes=(1, 2, 3), groups=4)),
    "RMS norm": Net((2, 10, 24), lambda n, x: n.b.emit("normalize", x, axes=(-1,), center=False)),
    "max over dimensions": Net((2, 7, 7, 8), lambda n, x: n.b.emit("reduce_max", x, axes=(1, 2))),
    "softmax": Net((8, 50), lambda n, x: n.b.emit("softmax", x, axis=-1)),
    "log_softmax": Net((8, 50), lambda n, x: n.b.emit("log_softmax", x, axis=-1)),
    "abs": Net(PICTURE, lambda n, x: n.b.emit("abs", x)),
    "exp": Net(PICTURE, lambda n, x: n.b.emit("exp", n.b.emit("clamp", x, low=-4, high=1))),
    "rsqrt": Net(PICTURE, lambda n, x: n.b.emit("rsqrt", n.b.emit("clamp", x, low=0.5, high=4))),
    "squared_difference": Net(PICTURE, lambda n, x: n.b.emit("squared_difference", x, n.b.emit("relu", x))),
    "max_pool, padded": Net(PICTURE, lambda n, x: n.pool("max_pool", x, ((1, 1), (1, 1)))),
    "max_pool of relu, padded": Net(PICTURE, lambda n, x: n.pool("max_pool", n.b.emit("relu", x), ((1, 1), (1, 1)))),
    "avg_pool": Net(PICTURE, lambda n, x: n.pool("avg_pool", x, "same")),
    "concat": Net(PICTURE, lambda n, x: n.b.emit("concat", x, n.b.emit("relu", x), n.b.emit("sigmoid", x), axis=-1)),
    "pad": Net(PICTURE, lambda n, x: n.b.emit("pad", x, padding=((0, 0), (1, 2), (3, 0), (0, 0)), value=1.0)),
    "moved": Net((1, 8, 6, 4), _moved),
    "clamp": Net(PICTURE, lambda n, x: n.b.emit("clamp", x, low=-0.5, high=0.25)),
    "add, -1 to 1": Net(PICTURE, lambda n, x: n.b.emit("clamp", n.b.emit("add", x, x), low=-1, high=1)),
    "resize": Net((1, 6, 4, 4), lambda n, x: n.b.emit("resize_bilinear", x, size=(12, 8), half_pixel_centers=True)),
    "unsigned edges": Net(PICTURE, lambda n, x: n.b.emit("add", x, x), Scheme(DType.U8, DType.U8)),
    "float edges": Net(PICTURE, lambda n, x: n.conv(x, 3, 3, 8, 4), Scheme(DType.F32, DType.F32)),
    "part in floats": Net(PICTURE, lambda n, x: n.b.emit("add", n.b.emit("cos", x), x), Scheme(allow_float=True)),
}
