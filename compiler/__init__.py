"""Everything that turns graphs into code: graph, operators, passes, loops, schedules, code generation.

A network walks down the folders: `graph` (typed SSA dataflow), `passes` (graph to graph), `schedules` (graph to
loops), `loops` (the loop IR), `codegen` (loops to LLVM and machine code).
"""

assert __name__ == "netc.compiler", "import netc.compiler, not the folder `compiler` itself"

VERSION = "0.1.0"
"""Of netc. It stands here, as reading the metadata of an installed package imports a parser of e-mail."""
