"""A table of vectors that whole numbers pick from."""

from __future__ import annotations

from ...errors import ShapeError
from ...graph.ir import Value
from ..layer import LayerBuilder, layer


@layer("embedding")
def embedding(b: LayerBuilder, ids: Value, count: int, features: int) -> Value:
    """The vectors of whole numbers: [...] to [..., features], rows of the parameter `weight` [count, features].

    The weights are those of torch.nn.Embedding. Their gradient adds up the rows of equal numbers in their order.
    """
    if count < 1 or features < 1:
        raise ShapeError(f"embedding needs rows and features, not {count} and {features}")
    weight = b.param("weight", (count, features), init="normal(1.0)")
    return b.emit("gather", weight, ids, axis=0)
