"""From loops to LLVM IR, objects and code in memory; the only package that knows LLVM.

host        the machine that this process runs on, as a target
llvm        one kernel -> one LLVM function (expressions, index, math, writer, text are its parts)
program     a module of kernels -> LLVM text with the C interface of netc.h and runtime.ll
machine     LLVM text -> optimised LLVM, assembly, object code
parts       LLVM text -> several objects side by side
python_call the object by which CPython calls programs
jit         object code -> this process
"""

from .host import host_target
from .machine import assembly, object_code, optimized
from .program import emit_module

__all__ = ["assembly", "emit_module", "host_target", "object_code", "optimized"]
