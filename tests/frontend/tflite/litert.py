"""LiteRT's answers, from a process of its own, because some models make it abort."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

Array = NDArray[Any]

LIMIT = 60
"""Seconds that an answer may take."""
KERNELS = ("BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
"""Resolvers of LiteRT: the reference kernels, and those that are faster."""


class RefusedError(Exception):
    """LiteRT's reason not to run a model."""


class LiteRT:
    """A process that has loaded LiteRT, and has a copy of itself answer each question."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.close()
        self._process.join()

    def __call__(
        self, data: bytes, rows: Sequence[Sequence[Array]], kernels: str = KERNELS[0], *, anew: bool = True
    ) -> list[list[Array]]:
        """The outputs for each row of inputs. Raises `RefusedError` where LiteRT refuses, aborts or takes too long."""
        self._pipe.send((data, rows, kernels, anew))
        answer = pickle.loads(self._pipe.recv_bytes() or pickle.dumps("it aborts"))
        if isinstance(answer, str):
            raise RefusedError(answer)
        found: list[list[Array]] = answer
        return found

    def first(self, data: bytes, rows: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """The outputs of the reference kernels, or of the faster ones where the reference lacks an operator."""
        try:
            return self(data, rows)
        except RefusedError as error:
            if "Didn't find op" not in str(error):
                raise
            return self(data, rows, KERNELS[1])


def _serve(pipe: Any) -> None:
    """The body of the process: questions in, pickled answers out; nothing for those on which it aborts."""
    import ai_edge_litert.interpreter  # noqa: F401  # so that the copies have it

    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _answer(writer, *question)
        os.close(writer)
        with open(reader, "rb") as answer:
            pipe.send_bytes(answer.read())
        os.waitpid(child, 0)


def _answer(writer: int, data: bytes, rows: Sequence[Sequence[Array]], kernels: str, anew: bool) -> None:
    """The body of a copy, which ends here."""
    signal.alarm(LIMIT)  # which ends the copy
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where LiteRT says why it aborts
    answer: Any
    try:
        answer = run(data, rows, kernels, anew=anew)
    except (RuntimeError, ValueError) as error:
        answer = " ".join(str(error).split())
    with open(writer, "wb") as file:
        pickle.dump(answer, file)
    os._exit(0)


def run(
    data: bytes, rows: Sequence[Sequence[Array]], kernels: str = KERNELS[0], *, anew: bool = True
) -> list[list[Array]]:
    """The outputs of a model for each row of inputs, in this process; `anew`: variable tensors are reset each time."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType[kernels], num_threads=1)
    interpreter.allocate_tensors()
    results = []
    for row in rows:
        if anew:
            interpreter.reset_all_variables()  # which a recurrent layer would keep from run to run
        for details, array in zip(interpreter.get_input_details(), row, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        results.append([interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()])
    return results
