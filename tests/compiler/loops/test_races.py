"""Threads that meet: in a kernel's parallel loop, and between calls that no barrier separates."""

from __future__ import annotations

import pytest

from netc.compiler.errors import InternalError
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.modules.module import Module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_kernel, verify_module

APART = {
    "rows": "parallel %p = 0 to 12 {\n %y[%p, 0] = 0.0: f32x8\n}",
    "steps": "parallel %p = 0 to 12 step 3 {\n unroll %r = 0 to 3 {\n %y[%p + %r, 0] = 0.0: f32x8\n }\n}",
    "columns": "parallel %p = 0 to 2 {\n for %i = 0 to 12 {\n %y[%i, %p * 4] = 0.0: f32x4\n }\n}",
    "quotient and remainder": "parallel %p = 0 to 96 {\n %y[floordiv(%p, 8), mod(%p, 8)] = 0.0: f32\n}",
    "blocks": ("parallel %p = 0 to 3 {\n for %g = %p * 5 to min(%p * 5 + 5, 12) {\n %y[%g, 0] = 0.0: f32x8\n }\n}"),
    "shares of any size": (
        "parallel %p = 0 to 5 {\n for %g = floordiv(%p * 12, 5) to floordiv((%p + 1) * 12, 5) {\n"
        " %y[%g, 0] = 0.0: f32x8\n }\n}"
    ),
    "a tail for the last one": (
        "parallel %p = 0 to 3 {\n if lt(%p, 2) {\n %y[0, %p * 3] = 0.0: f32x3\n } else {\n %y[0, 6] = 0.0: f32x2\n }\n}"
    ),
    "one alone": "parallel %p = 0 to 3 {\n if eq(%p, 0) {\n %y[0, 0] = 0.0: f32x8\n }\n}",
    "a share that only one has": (
        "parallel %p = 0 to 2 {\n for %j = floordiv(%p, 2) to floordiv(%p + 1, 2) {\n %y[%j, 0] = 0.0: f32x8\n }\n}"
    ),
    "regions, each shared out in its own way": (
        "parallel %p = 0 to 4 {\n for %i = 0 to 12 {\n %y[%i, %p] = 0.0: f32\n }\n"
        " for %i = %p * 3 to %p * 3 + 3 {\n %y[%i, 4] = 0.0: f32x4\n }\n}"
    ),
    "tiles that stay inside": (
        "parallel %p = 0 to 3 {\n for %t = 0 to min(12 - %p * 5, 5) {\n %y[min(%p * 5 + %t, 11), 0] = 0.0: f32x8\n }\n}"
    ),
    "its own row read": "parallel %p = 0 to 12 {\n %y[%p, 0] = add(load f32x8 %y[%p, 0], 1.0: f32x8)\n}",
}

MEETING = {
    "one place": "parallel %p = 0 to 12 {\n %y[0, 0] = 0.0: f32\n}",
    "rows that overlap": "parallel %p = 0 to 11 {\n unroll %r = 0 to 2 {\n %y[%p + %r, 0] = 0.0: f32x8\n }\n}",
    "vectors that overlap": "parallel %p = 0 to 2 {\n %y[0, %p * 3] = 0.0: f32x4\n}",
    "a neighbour's row read": "parallel %p = 0 to 11 {\n %y[%p, 0] = load f32 %y[%p + 1, 0]\n}",
    "only the remainder": "parallel %p = 0 to 24 {\n %y[mod(%p, 12), 0] = 0.0: f32\n}",
    "blocks that overlap": (
        "parallel %p = 0 to 3 {\n for %g = %p * 3 to min(%p * 3 + 4, 12) {\n %y[%g, 0] = 0.0: f32\n }\n}"
    ),
    "a tail that is in the way": (
        "parallel %p = 0 to 3 {\n if lt(%p, 2) {\n %y[0, %p * 3] = 0.0: f32x3\n } else {\n %y[0, 5] = 0.0: f32x3\n }\n}"
    ),
    "everyone's sum": "parallel %p = 0 to 12 {\n %y[0, 0] = add(load f32 %y[0, 0], load f32 %x[%p, 0])\n}",
    "an index from memory": "parallel %p = 0 to 12 {\n %y[max(min(load i64 %n[%p], 11), 0), 0] = 0.0: f32\n}",
}


BETWEEN_MARGINS = """
kernel @k(%x: f32[12,8], %y: out f32[7,8,8]) {{
  parallel %p = 0 to 2 {{
    for %g = %p * 5 to %p * 5 + {bands} {{
      if lt(%g, 9) {{
        unroll %s = 0 to 4 {{
          %y[floordiv(%g * 4 + %s, 6), mod(%g * 4 + %s, {width}) + 1, 0] = 0.0: f32x8
        }}
      }} else {{
        for %s = 0 to 2 {{
          %y[floordiv(%g * 4 + %s, 6), mod(%g * 4 + %s, {width}) + 1, 0] = 0.0: f32x8
        }}
      }}
    }}
  }}
}}
"""
"""Pixels in rows of six, in tiles of four; the last tile has fewer."""


def test_quotients_and_remainders_of_one_number_keep_iterations_apart() -> None:
    verify_kernel(parse_kernel(BETWEEN_MARGINS.format(bands=5, width=6)))


@pytest.mark.parametrize(("bands", "width"), [(6, 6), (5, 5)], ids=["blocks that overlap", "of different divisors"])
def test_quotients_and_remainders_that_meet(bands: int, width: int) -> None:
    with pytest.raises(InternalError, match="two threads may touch the same elements"):
        verify_kernel(parse_kernel(BETWEEN_MARGINS.format(bands=bands, width=width)))


def kernel_text(body: str) -> str:
    return f"kernel @k(%x: f32[12,8], %n: i64[12], %y: out f32[12,8]) {{\n{body}\n}}\n"


@pytest.mark.parametrize("name", APART)
def test_iterations_that_stay_apart(name: str) -> None:
    verify_kernel(parse_kernel(kernel_text(APART[name])))


@pytest.mark.parametrize("name", MEETING)
def test_iterations_that_meet(name: str) -> None:
    with pytest.raises(InternalError, match="two threads may touch the same elements"):
        verify_kernel(parse_kernel(kernel_text(MEETING[name])))


MODULE = """\
module @m {{
  arena 1024
  weights 64 at [0]
  input %x: f32[12,8]
  output %y: f32[12,8]

  kernel @alone(%x: f32[12,8], %y: out f32[12,8]) {{
    for %i = 0 to 12 {{
      %y[%i, 0] = load f32x8 %x[%i, 0]
    }}
  }}
  kernel @all(%x: f32[12,8], %y: out f32[12,8]) {{
    parallel %i = 0 to 12 {{
      %y[%i, 0] = load f32x8 %x[%i, 0]
    }}
  }}
  kernel @left(%y: out f32[12,8]) {{
    parallel %i = 0 to 12 {{
      %y[%i, 0] = 0.0: f32x4
    }}
  }}
  kernel @right(%y: out f32[96]) {{
    parallel %i = 0 to 12 {{
      %y[%i * 8 + 4] = 0.0: f32x4
    }}
  }}
  kernel @both(%y: out f32[12,8], %z: out f32[96]) {{
    parallel %i = 0 to 12 {{
      %y[%i, 0] = 0.0: f32x4
      %z[%i * 8 + 4] = 0.0: f32x4
    }}
  }}

  {calls}

  setup
  graph @m.setup() -> (f32[]) {{
    %0 = constant {{value = dense<0.0>}} : f32[]
    return %0
  }}
}}
"""


def calls_of(*calls: str) -> Module:
    return parse_module(MODULE.format(calls="\n  ".join(f"call {call}" for call in calls)))


@pytest.mark.parametrize(
    "calls",
    [
        ("@alone(input[0], arena[0])", "@alone(arena[0], output[0])"),
        ("@all(input[0], arena[0]) barrier", "@all(arena[0], output[0])"),
        ("@all(input[0], arena[0])", "@all(input[0], arena[384])"),
        ("@left(arena[0])", "@right(arena[0])"),
        ("@both(arena[0], arena[0])",),
        ("@all(input[0], arena[0]) barrier when arena[960]", "@all(arena[0], output[0]) when arena[960]"),
    ],
)
def test_calls_that_stay_apart(calls: tuple[str, ...]) -> None:
    verify_module(calls_of(*calls))


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (("@all(input[0], arena[0])", "@all(arena[0], output[0])"), r"@all and @all meet at arena\[0\]"),
        (("@alone(input[0], arena[0])", "@all(arena[0], output[0])"), r"@alone and @all meet at arena\[0\]"),
        (("@all(arena[0], output[0])", "@alone(input[0], arena[0])"), r"@all and @alone meet at arena\[0\]"),
        (("@all(input[0], arena[0])", "@left(arena[0])"), r"@all and @left meet"),
        (("@left(arena[0])", "@right(arena[4])"), r"@left and @right meet at arena\[0\]"),
        (
            ("@all(input[0], arena[0])", "@all(input[0], output[0]) barrier when arena[960]", "@left(arena[0])"),
            r"@all and @left meet",  # the barrier is skipped together with its call
        ),
        (("@all(arena[0], arena[256])",), r"@all touches the same memory through %x and %y"),
        (("@both(arena[0], arena[4])",), r"@both touches the same memory through %y and %z"),
        (("@left(arena[896])", "@alone(input[0], output[0]) when arena[960]"), "is smaller|ends outside|meet at"),
    ],
)
def test_calls_that_meet(calls: tuple[str, ...], message: str) -> None:
    with pytest.raises(InternalError, match=message):
        verify_module(calls_of(*calls))
