"""From LLVM text to machine code: target machines, the pass pipeline, assembly and objects.

The text that this package writes is already in SSA form, rotated, and free of common address arithmetic, so hardly any
passes are needed. LLVM's loop unroller and vectorisers are left out on purpose: they break register tiles.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

import llvmlite
import llvmlite.binding as llvm

from ....errors import InternalError, NetcError
from ....targets.target import Environment, Target

PASSES = ("instruction_combine", "simplify_cfg")
HOSTED_PASSES = ("simplify_cfg",)
"""For processes, whose code is made while somebody waits. Instruction selection combines instructions again: without
the pass, which took a fifth of LLVM's time for networks of integers, code is as short and as fast."""


AT_WORK = threading.RLock()
"""Held while LLVM works without llvmlite's lock, or by settings of the whole process; whoever needs both takes this one
first."""


def _fork_between_calls() -> None:
    """Let forks wait for LLVM, which a child must get at rest, and whose lock no thread of the child would release."""
    lock = getattr(llvm.ffi.lib, "_lock", None)  # llvmlite gives it no public name
    if lock is not None and hasattr(os, "register_at_fork"):

        def take() -> None:
            AT_WORK.acquire()
            lock.__enter__()

        def release() -> None:
            lock.__exit__(None, None, None)
            AT_WORK.release()

        os.register_at_fork(before=take, after_in_parent=release, after_in_child=release)


_fork_between_calls()


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@cache
def target_machine(target: Target, level: int = 2) -> llvm.TargetMachine:
    """LLVM's description of a target."""
    return new_target_machine(target, level)


def new_target_machine(target: Target, level: int = 2) -> llvm.TargetMachine:
    """The same for a thread of its own; code for processes is position-independent.

    Raises `NetcError` if this LLVM lacks the target.
    """
    _initialize()
    try:
        description = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise NetcError(f"this LLVM can't make code for {target.triple}: {error}") from error
    return description.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=level,
        reloc="pic" if target.environment is Environment.POSIX else "static",
        codemodel=target.code_model,
        abiname=target.abi,
    )


def header(target: Target) -> str:
    """The first lines of a module for a target."""
    layout = target_machine(target).target_data
    return f'target datalayout = "{layout}"\ntarget triple = "{target.triple}"\n\n'


def with_helpers(text: str, target: Target) -> str:
    """A module's text, with functions for what a processor lacks and the text needs."""
    needed = (
        ("real.ll", False, r"@netc\.real_product\b"),
        ("half.ll", target.has_half, r"\bhalf\b"),
        ("wide.ll", target.has_wide_products, r"\bi64\b"),
        ("zeros.ll", target.has_wide_products, r"@netc\.real_product\b|@llvm\.ctlz\b"),
        ("divide.ll", target.has_wide_products, r"\b[su](div|rem)\b"),
    )
    names = [name for name, there, pattern in needed if not there and re.search(pattern, text)]
    parts = [files("netc.compiler.backends.cpu.codegen").joinpath(name).read_text(encoding="utf-8") for name in names]
    return "\n".join([text, *parts])


def parse(text: str, context: llvm.ContextRef | None = None) -> llvm.ModuleRef:
    """Read and verify LLVM text, in a context or in that of all; broken text is a bug of netc's."""
    try:
        module = llvm.parse_assembly(text, context)
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"code generation wrote LLVM text that doesn't verify: {error}\n\n{text}") from error
    return module


def passes_for(target: Target) -> tuple[str, ...]:
    """The pass pipeline: names of llvmlite's methods."""
    return HOSTED_PASSES if target.environment is Environment.POSIX else PASSES


def optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine, names: Sequence[str]) -> None:
    """Run a pass pipeline in place."""
    options = llvm.create_pipeline_tuning_options()
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    passes = llvm.create_new_module_pass_manager()
    for name in names:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, llvm.create_pass_builder(machine, options))


def compile_text(text: str, target: Target, level: int = 2) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    """Parse and optimise LLVM text for a target."""
    machine = target_machine(target, level)
    module = parse(text)
    optimize(module, machine, passes_for(target))
    return module, machine


def optimized(text: str, target: Target) -> str:
    """LLVM text after LLVM's passes."""
    return str(compile_text(text, target)[0])


@contextmanager
def constants_where_used() -> Iterator[None]:
    """Meanwhile LLVM leaves constants in loops, as operands in memory, instead of taking them out into registers."""
    with AT_WORK:
        llvm.set_option("netc", "-disable-machine-licm=true")
        try:
            yield
        finally:
            llvm.set_option("netc", "-disable-machine-licm=false")


def object_code(text: str, target: Target, level: int = 2) -> bytes:
    """The object file of LLVM text."""
    module, machine = compile_text(text, target, level)
    with AT_WORK:
        return bytes(machine.emit_object(module))


def assembly(text: str, target: Target) -> str:
    """The assembly of LLVM text."""
    module, machine = compile_text(text, target)
    with AT_WORK:
        return str(machine.emit_assembly(module))


def fingerprint(target: Target) -> str:
    """What besides the text decides an object's bytes: compiler versions, passes, and the target."""
    version = ".".join(map(str, llvm.llvm_version_info))
    return f"llvmlite {llvmlite.__version__}, LLVM {version}, {','.join(passes_for(target))}, {target!r}"
