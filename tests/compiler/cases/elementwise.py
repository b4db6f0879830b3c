"""Functions of single elements, comparison, choice and rounding."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase, Shape

BINARY_SHAPES: tuple[tuple[Shape, Shape], ...] = (
    ((2, 3, 5, 7), (2, 3, 5, 7)),
    ((1, 4, 4, 33), (33,)),
    ((2, 5, 1, 16), (1, 5, 3, 1)),
    ((3, 17), ()),
    ((), ()),
)

CASES: tuple[OpCase, ...] = (
    *(OpCase(op, shapes) for op in ("add", "sub", "mul", "maximum", "minimum") for shapes in BINARY_SHAPES),
    *(OpCase("div", shapes, positive=True) for shapes in BINARY_SHAPES),
    *(
        OpCase(op, ((2, 3, 37),))
        for op in ("relu", "relu6", "neg", "abs", "exp", "tanh", "sigmoid", "hard_sigmoid", "leaky_relu", "identity")
    ),
    OpCase("clamp", ((5, 19),), {"low": -0.5, "high": 0.25}),
    OpCase("sqrt", ((5, 19),), positive=True),
    OpCase("log", ((5, 19),), positive=True),
    # comparison and choice
    *(
        OpCase(op, shapes, below={0: 3, 1: 3})
        for op in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
        for shapes in (((2, 3, 37), (2, 3, 37)), ((4, 33), (33,)), ((), ()))
    ),
    OpCase("equal", ((4, 33), (33,)), dtypes={0: DType.I32, 1: DType.I32}, below={0: 3, 1: 3}),
    *(
        OpCase("select", shapes, dtypes={0: DType.BOOL})
        for shapes in (((3, 37), (3, 37), (3, 37)), ((3, 1), (2, 3, 20), ()), ((17,), (), (4, 17)), ((), (), ()))
    ),
    *(OpCase(op, ((2, 3, 37),)) for op in ("sin", "cos", "softplus")),
    OpCase("erf", ((2, 3, 37),)),
    OpCase("erfc", ((2, 3, 37),)),
    OpCase("elu", ((2, 3, 37),)),
    OpCase("hard_swish", ((2, 3, 37),)),
    OpCase("prelu", ((2, 3, 37), (37,)), weights=1),
    *(OpCase("gelu", ((2, 3, 37),), {"approximate": approximate}) for approximate in (False, True)),
    OpCase("sign", ((2, 3, 37),)),
    OpCase("sign", ((40,),), below={0: 2}),
    OpCase("floor_div", ((3, 37), (37,)), dtypes={0: DType.I32, 1: DType.I32}, below={0: 90, 1: 4}),
    OpCase("floor_div", ((3, 37), ()), positive=True, below={1: 2}),
    # rounding to what integers can stand for
    OpCase("fake_quantize", ((3, 5, 37), (), ()), weights=1, tolerance=0),
    OpCase("fake_quantize", ((40, 33), (33,), (33,)), {"lowest": -3, "highest": 4}, tolerance=0),
    OpCase("round_to_grid", ((3, 37), (), ()), positive=True, below={2: 4}, tolerance=0),
    OpCase("round_to_grid", ((2, 3, 20), (20,), (20,)), {"lowest": -127}, positive=True, below={2: 4}, tolerance=0),
)
