"""Reductions, softmax and its relatives, statistics."""

from __future__ import annotations

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    *(
        OpCase(op, ((2, 5, 6, 21),), {"axes": axes, "keepdims": keepdims})
        for op in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min")
        for axes in ((1, 2), (3,), None)
        for keepdims in (False, True)
    ),
    OpCase("softmax", ((3, 1001),)),
    OpCase("softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("batch_norm", ((2, 5, 6, 20), (20,), (20,), (20,), (20,)), {"eps": 1e-3}, weights=1, positive=True),
    OpCase("channel_variance", ((3, 5, 7, 37), (37,))),
    OpCase("channel_variance", ((40, 1), (1,))),
    OpCase("argmax", ((5, 1001),)),
    OpCase("argmax", ((3, 7, 20),), {"axis": 1}, below={0: 4}),
    OpCase("log_softmax", ((3, 1001),)),
    OpCase("log_softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("logsumexp", ((3, 101),)),
    OpCase("logsumexp", ((2, 5, 7),), {"axis": -2}),
)
