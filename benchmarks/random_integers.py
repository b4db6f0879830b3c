"""Random operators on integers: netc's interpreter and machine code against LiteRT's reference kernels, byte by byte.

    python benchmarks/random_integers.py [--count 3000] [--seed 0] [--operators RELU6,ADD] [--no-compile] [--shrink]

Each draw is a file of one quantized operator with sizes, scales, zero points and options at random, and all 256 values
of a byte among its inputs where there is room. It runs in LiteRT (`OpResolverType.BUILTIN_REF`), in the interpreter and
compiled, and LiteRT runs it again as netc writes it. The exit code is 1 if any byte differs. `--shrink` has hypothesis
look for the smallest file on which an operator differs. Needs ai-edge-litert, and hypothesis to shrink.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

from common import parser, setting, table

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.frontend.tflite.agreement import COLUMNS, compare, described
from tests.frontend.tflite.litert import LiteRT
from tests.frontend.tflite.random_operators import MAKERS, random_operator

EXAMPLES = 400
"""Draws of hypothesis for one operator."""


def main() -> None:
    """Draw, compare, print, and exit with 1 on differences."""
    arguments = options()
    names = arguments.operators.split(",") if arguments.operators else sorted(MAKERS)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    with LiteRT() as litert:
        for number in range(arguments.count):
            name = names[number % len(names)]
            _, data = random_operator(Random(f"{name} {arguments.seed} {number}"), name)
            found = compare(litert, data, number, compiles=not arguments.no_compile)
            counts[name][found.outcome] += 1
            if found.outcome == "differs":
                print(f"<!-- {name}, number {number}: {found.detail}\n     {described(data)} -->", flush=True)
            elif found.outcome == "netc refuses":
                reasons[f"{name}: {found.detail}"] += 1
        report(counts, reasons, arguments)
        differing = [name for name in names if counts[name]["differs"]]
        for name in differing if arguments.shrink else ():
            print(f"the smallest {name} that differs: {smallest(litert, name)}", flush=True)
    raise SystemExit(1 if differing else 0)


def options() -> argparse.Namespace:
    """The options of the command line."""
    p = parser(__doc__)
    p.add_argument("--count", type=int, default=3000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--operators", help="names of TFLite, with commas between them; default: all")
    p.add_argument("--no-compile", action="store_true", help="leave machine code out, which takes most of the time")
    p.add_argument("--shrink", action="store_true", help="look for the smallest file that differs")
    return p.parse_args()


def report(counts: dict[str, Counter[str]], reasons: Counter[str], arguments: argparse.Namespace) -> None:
    """Print what was found, operator by operator."""
    total = sum(counts.values(), Counter[str]())
    rows = [[name, *(str(counts[name][c]) for c in COLUMNS)] for name in sorted(counts)]
    rows.append(["all", *(str(total[c]) for c in COLUMNS)])
    print(f"{setting('ai-edge-litert')}; seed {arguments.seed}\n\n{table(['operator', *COLUMNS], rows)}\n")
    for reason, count in reasons.most_common():
        print(f"- {count} x {reason}")


def smallest(litert: LiteRT, name: str) -> str:
    """What hypothesis shrinks a difference to."""
    from hypothesis import HealthCheck, find, settings, strategies
    from hypothesis.errors import NoSuchExample

    wanted = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    randoms = strategies.randoms(use_true_random=False)
    try:
        files = randoms.map(lambda r: random_operator(r, name)[1])
        data = find(files, lambda d: compare(litert, d, 0).outcome == "differs", settings=wanted)
    except NoSuchExample:
        return f"none among {EXAMPLES} draws"
    return f"{described(data)}: {compare(litert, data, 0).detail}"


if __name__ == "__main__":
    main()
