"""Names of values for people."""

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.names import UniqueNames, value_names
from netc.compiler.types import DType, TensorType


def test_a_free_name_stays_and_others_get_the_first_number_that_makes_them_free() -> None:
    unique = UniqueNames(["relu", "relu_2"])
    taken = [unique.take(name) for name in ("relu", "relu", "relu_1", "add", "add", "relu")]
    assert taken == ["relu_1", "relu_3", "relu_1_1", "add", "add_1", "relu_4"]


def test_values_keep_their_names_and_others_are_called_after_weights_and_operators() -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 4)))
    weight = b.emit("param", shape=(4, 4), name="head.weight")
    y = b.emit("relu", b.emit("relu", b.emit("dense", x, weight)))
    z = b.emit("add", b.emit("relu", x, name="head/add"), y)
    names = value_names(b.finish([z]))
    expected = ["x", "head.weight", "head/dense", "head/relu", "head/relu_1", "head/add", "head/add_1"]
    assert list(names.values()) == expected
