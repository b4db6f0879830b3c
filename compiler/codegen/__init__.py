"""From loops to LLVM IR, objects and code in memory; the only package that knows LLVM.

target      the machines: vector width, registers, caches, features
llvm        one kernel -> one LLVM function (expressions, index, math, writer, text are its parts)
program     a module of kernels -> LLVM text with the C interface of netc.h and runtime.ll
machine     LLVM text -> optimised LLVM, assembly, object code
jit         object code -> this process
"""

from .machine import assembly, object_code, optimized
from .program import emit_module
from .target import Target

__all__ = ["Target", "assembly", "emit_module", "object_code", "optimized"]
