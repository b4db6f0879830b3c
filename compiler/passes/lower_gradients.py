"""lower-gradients: bring the operators that gradients are made of into the forms that have schedules."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Results
from ..ops.windows.convolution_gradients import InputGradient
from .base import Pass


@dataclass(frozen=True)
class LowerGradients(Pass):
    """Turn gradients of convolutions and products with transposed matrices into what the schedules serve.

    - conv2d_input_gradient, and those of one and three dimensions, become transposed convolutions with the inputs and
      results of the weight exchanged.
    - matmul with a transposed right side becomes one with an explicit transpose. (A transposed left side costs
      nothing: its elements are read one by one in any case.)

    Before::

        %1 = conv2d_input_gradient(%dy, %w) {size = [28,28], strides = [2,2], ...} : f32[8,28,28,64]

    After::

        %0 = transpose(%w) {permutation = [0,1,3,2]} : f32[3,3,128,64]
        %1 = transpose_conv2d(%dy, %0) {size = [28,28], strides = [2,2], ...} : f32[8,28,28,64]
    """

    name = "lower-gradients"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for op in graph.operations:
            lowered = self._lower(rewriter, op)
            if lowered is None:
                rewriter.copy(op)
            else:
                rewriter.replace_results(op, lowered)
        return rewriter.close()

    def _lower(self, b: Rewriter, op: Operation) -> Results | None:
        if isinstance(op.operator, InputGradient):
            return b.expand(op, op.operator.decompose)
        if op.name == "matmul" and op.attributes["transpose_b"]:
            left, right = (b[v] for v in op.operands)
            *outer, row, column = range(right.type.rank)
            right = b.emit("transpose", right, permutation=(*outer, column, row), location=op.location)
            transpose_a = op.attributes["transpose_a"]
            return b.emit("matmul", left, right, transpose_a=transpose_a, location=op.location)
        return None


lower_gradients = LowerGradients()
