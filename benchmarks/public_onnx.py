"""A scoreboard of other people's ONNX files: netc's machine code against ONNX Runtime, one line for each file.

    python benchmarks/public_onnx.py FOLDER [--results R.jsonl] [--seconds 120] [--memory 6] [--only TEXT] [--times]
                                            [--first] [--again VERDICT ...]
    python benchmarks/public_onnx.py FOLDER --present [--missing]

Each file below FOLDER runs in a process of its own, with limits of time and memory. Sizes that it leaves open are
guessed, the same for both (`public_onnx_inputs.py`). It gets two random inputs, and the first of them again. An input
that must be known when the file is read, such as a shape, is given then, with its first value; the table counts such
files. Verdicts:

- `exact`: all outputs are the bytes of ONNX Runtime without graph optimizations;
- `close`: floats differ by at most 1e-4 of their range (the largest number, or the largest less the smallest), or by
  three times as much as ONNX Runtime without and with its optimizations differ from each other, but no more than 1e-2;
  or by at most 1e-4 from the optimized ones; or by two units in the last place of 1 (ONNX Runtime's sigmoids are that
  far off). Integers may differ only where these two differ, too, and by no more. Where a file still differs, ONNX
  Runtime is asked once more, with inputs, weights and scales that are moved by as much as roundings move sums: what
  this changes (ties of an argmax, roundings to a step of a scale) may change as much in netc. Where even that is too
  little, both get weights of 7 bits in place of 8, with which ONNX Runtime's sums of two products don't saturate on
  processors without instructions for them; and nodes that choose give netc ONNX Runtime's choices, and all else is
  compared (`public_onnx_choices.py`);
- `differs`, `refused` (with the reasons), `slow` (over the limit), `crashed`;
- `unjudged`: ONNX Runtime itself does not run the file with any of the sizes tried.

`--times` has both runtimes take turns on one thread, and compares the shortest call of each; where netc takes more than
1.3 times as long, it names the operations that take most. `--first` names the first tensor that differs. Results are
lines of JSON: a file that has one is not run again, unless its verdict is named with `--again`. Files with equal bytes
run once.

`benchmarks/public_onnx.json` names public files by source, version, path and checksum; `--present` tells how many of
them are in FOLDER, and says where the others come from with `--missing`. Needs onnxruntime.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common import table
from public_files import RIGHT, Record, exit_code, files_of, folder_parser, present, run_all, summary
from public_onnx_file import SLOW, steps

LIST = Path(__file__).with_suffix(".json")
NEEDED = ("onnxruntime", "netc.frontend.onnx", "netc.runtime.measure")


def main() -> int:
    """Run all files that have no result yet; print what all of them gave."""
    p = folder_parser(__doc__)
    p.add_argument("--times", action="store_true", help="compare the times of a call on one thread")
    options = p.parse_args()
    files = files_of(options.folder, (".onnx",), options.only)
    if options.present:
        return present(LIST, files, options.missing)
    rows = run_all(files, options, steps, NEEDED)
    summary(rows, "onnxruntime")
    right = [r for r in rows if r["verdict"] in RIGHT]
    print(f"\nright with inputs that are given when the file is read: {sum('given' in r for r in right)}")
    _print_times([r for r in right if "ratio" in r])
    return exit_code(rows)


def _print_times(rows: Sequence[Record]) -> None:
    """How much longer than ONNX Runtime's a call of netc's takes, and of which files it is too long."""
    if not rows:
        return
    ratios = sorted(r["ratio"] for r in rows)
    slow = sorted((r for r in rows if r["ratio"] > SLOW), key=lambda r: -r["ratio"])
    print(f"\nnetc's time as a share of ONNX Runtime's, one thread: median {ratios[len(ratios) // 2]:.2f};")
    print(f"{len(slow)} of {len(rows)} files over {SLOW}\n")
    body = [
        [r["file"], f"{r['netc_ms']:.3f}", f"{r['other_ms']:.3f}", f"{r['ratio']:.2f}", "; ".join(r["blame"])]
        for r in slow
    ]
    print(table(["file", "netc, ms", "ONNX Runtime, ms", "ratio", "what takes most"], body))


if __name__ == "__main__":
    sys.exit(main())
