"""Forks and signals amid calls: the child and the handler get right answers or an error, and nobody hangs."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from .chain import run_script

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_forked_children_start_their_own_threads() -> None:
    body = """
    p = program(2)
    check(draw(), p(draw()))
    child = os.fork()
    check(draw(1), p(draw(1)))
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print('both')
    else:
        p.close()
        os._exit(0)
    """
    assert run_script(body) == "both\n"


FORK = """
def exit_code(child):
    # what `child` returns in a forked process; -14 if it hangs
    if (pid := os.fork()):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(20)
    try:
        os._exit(child())
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)

class busy:
    # another thread that calls a function all the time
    def __init__(self, function):
        self.function, self.stopped = function, False
        self.thread = threading.Thread(target=self.work)
    def work(self):
        while not self.stopped:
            self.function()
    def __enter__(self):
        self.function()  # imports all that it needs: forks amid an import are Python's own trouble
        self.thread.start()
        time.sleep(0.05)
    def __exit__(self, *error):
        self.stopped = True
        self.thread.join()

import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # about forks of processes with threads
"""


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_children_forked_amid_a_call_of_another_thread_answer(threads: int) -> None:
    body = f"""
    def child():
        check(draw(1), p(draw(1)))
        p.close()
        return 0
    p = program({threads})
    with busy(lambda: check(draw(), p(draw()))):
        print([exit_code(child) for _ in range(12)])
    """
    assert run_script(FORK + textwrap.dedent(body)) == f"{[0] * 12}\n"


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_children_forked_amid_a_call_of_their_own_thread_finish_it(threads: int) -> None:
    """As by a signal handler: the child has the session's lock, as its call goes on."""
    body = f"""
    p = program({threads})
    check(draw(), p(draw()))
    session = p._session
    def forking(addresses, profile):
        global forked
        del session._run
        forked = os.fork()
        signal.alarm(0 if forked else 20)
        session._run(addresses, profile)
    session._run = forking
    check(draw(1), p(x=draw(1)))
    check(draw(2), p(draw(2)))
    other = threading.Thread(target=lambda: check(draw(3), p(draw(3))))
    other.start()
    other.join()
    if not forked:
        os._exit(0 if session.lock.acquire(False) and len(p._callers.sessions) == 1 else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
    """
    assert run_script(FORK + textwrap.dedent(body)) == "0\n"


@needs_fork
def test_children_forked_amid_a_step_have_no_half_state() -> None:
    body = """
    import netc
    def child():
        try:
            trainer.step(x, labels)
        except netc.NetcError as error:
            assert "forked while another thread changed its state" in str(error)
            for use in (trainer.state, trainer.weights, lambda: trainer.load_state({})):
                try:
                    use()
                    return 3
                except netc.NetcError:
                    pass
            return 2
        return 0
    trainer = netc.compile_training("mlp_mnist", batch=64, threads=2)
    x, labels = np.ones((64, 28, 28, 1), np.float32), np.zeros(64, np.int32)
    trainer.step(x, labels)
    assert exit_code(child) == 0
    with busy(lambda: trainer.step(x, labels)):
        codes = {exit_code(child) for _ in range(8)}
    trainer.step(x, labels)
    print(codes <= {0, 2}, 2 in codes)
    """
    assert run_script(FORK + textwrap.dedent(body)) == "True True\n"


@needs_fork
def test_children_forked_amid_a_compilation_can_compile(tmp_path: Path) -> None:
    body = f"""
    os.environ["NETC_CACHE_DIR"], os.environ["NETC_CACHE_BYTES"] = {str(tmp_path)!r}, "0"
    import netc
    graph = netc.parse_graph("graph @g(%x: f32[4]) -> (f32[4]) {{ %0 = relu(%x) : f32[4] return %0 }}")
    def child():
        return int(netc.compile(graph, threads=1)(np.full(4, -1, np.float32)).any())
    with busy(lambda: netc.compile(graph, threads=1)):
        print([exit_code(child) for _ in range(6)])
    """
    assert run_script(FORK + textwrap.dedent(body)) == f"{[0] * 6}\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_signal_handlers_may_call_a_program_amid_its_call(threads: int) -> None:
    body = f"""
    p, handled, refused = program({threads}), [], []
    def handler(*_):
        x = draw(len(handled))
        check(x, p(x))
        handled.append(x)
        try:
            p.close()
        except Exception as error:
            refused.append(str(error))
    check(draw(), p(draw()))
    signal.signal(signal.SIGALRM, handler)
    for amid in ("_run", "run_function"):  # by Python's hand, so that it hits every part of a call
        session = p._session
        plain = getattr(session, amid)
        def interrupted(*arguments):
            setattr(session, amid, plain)
            signal.raise_signal(signal.SIGALRM)
            return plain(*arguments)
        setattr(session, amid, interrupted)
        check(draw(1000), p(draw(1000)))
    assert len(refused) == 2 and "can't be closed amid a call" in refused[0], refused
    signal.signal(signal.SIGALRM, lambda *_: check(draw(7), p(draw(7))) or handled.append(7))
    for i in range(300):
        signal.setitimer(signal.ITIMER_REAL, i * 1e-6 + 1e-6)
        check(draw(1), p(draw(1)))
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(handled) > 50)
    """
    assert run_script(body) == "True\n"
