"""Execution of statements. An error leaves the variables of its statement undefined, and the next statement is tried:
independent errors are all found in one run, and those that only follow from others are not reported.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..compiler.errors import Location, NetcError
from ..compiler.graph.ir import Value
from . import arithmetic, ast
from .expressions import POISON, ExpressionEvaluator
from .run_time import RUNNING, check_condition, choose, repeat
from .state import CallSite, Frame, Update
from .tensors import as_tensors
from .values import Poisoned, Tensor, describe, error, is_number


class StatementRunner(ExpressionEvaluator):
    """Runs the body of a definition in a frame."""

    def run(self, body: ast.Body, frame: Frame) -> Any:
        """Run statements in order; the value that is returned, POISON if it is undefined, or RUNNING."""
        for statement in body.statements:
            self.state.enter(frame, statement.location)
            try:
                result = self._execute(statement, frame)
            except Poisoned:
                result = self._poison(statement, frame)
            except NetcError as problem:
                self.state.report(problem, frame, statement.location)
                result = self._poison(statement, frame)
            finally:
                self.state.leave()
            if result is not RUNNING:
                return result
        return RUNNING

    def _poison(self, statement: ast.Statement, frame: Frame) -> Any:
        frame.damaged = True
        for name in self.state.assigned(statement):
            frame.variables[name] = POISON
        return POISON if isinstance(statement, ast.Return) else RUNNING

    def _execute(self, statement: ast.Statement, frame: Frame) -> Any:
        if isinstance(statement, ast.Assign):
            self._assign(statement, frame)
            return RUNNING
        if isinstance(statement, ast.Return):
            return self.evaluate(statement.value, frame)
        if isinstance(statement, ast.For):
            return self._for(statement, frame)
        if isinstance(statement, ast.While):
            repeat(self, statement, frame)
            return RUNNING
        if isinstance(statement, ast.Next):
            self._next(statement, frame)
            return RUNNING
        return self._if(statement, frame)

    def _assign(self, statement: ast.Assign, frame: Frame) -> None:
        if statement.operator is None:
            value = self.evaluate(statement.value, frame)
        else:
            assert isinstance(statement.target, ast.Name), "the tree builder allows nothing else"
            old = self.evaluate(statement.target, frame)
            new = self.evaluate(statement.value, frame)
            value = self.apply(statement.operator, old, new, frame, statement.location)
        self._bind(statement.target, value, statement.value.location, frame)

    def _next(self, statement: ast.Next, frame: Frame) -> None:
        """`next(state) = value`: what the state holds when the next run begins."""
        value = self.evaluate(statement.value, frame)
        state = self.evaluate(statement.state, frame)
        if self.state.inside:
            hint = "assign a variable in there, and say behind it what the next value is"
            raise error("a state has one next value, whatever run time decides", statement.location, hint)
        if not isinstance(state, Tensor) or state not in self.state.states:
            hint = 'write `h = state("h", [1, 32])`, then `next(h) = ...`'
            raise error(f"next takes a state, not {describe(state)}", statement.state.location, hint)
        if is_number(value):
            site = CallSite(self.state, frame, statement.value.location)
            number = as_tensors((state, value), site.emit, site.location)[1]
            value = site.emit("broadcast_to", number, shape=state.type.shape) if state.type.shape else number
        if not isinstance(value, Tensor) or value.type.dense() != state.type.dense():
            problem = f"the next value of `{state.name}` must be {state.type}, not {describe(value)}"
            raise error(problem, statement.value.location)
        if (before := self.state.updates.get(state)) is not None:
            problem = f"`{state.name}` has two next values in one run"
            raise error(problem, statement.location, f"the first at {before.location}")
        self.state.updates[state] = Update(value, statement.location)

    def _bind(self, target: ast.Target, value: Any, location: Location, frame: Frame) -> None:
        if isinstance(target, ast.Name):
            frame.variables[target.id] = value
            return
        if not isinstance(value, tuple):
            raise error(f"{len(target.items)} names can't be assigned from {describe(value)}", location)
        if len(value) != len(target.items):
            raise error(f"{len(target.items)} names can't be assigned from a list of {len(value)}", location)
        for item, part in zip(target.items, value, strict=True):
            self._bind(item, part, location, frame)

    def _for(self, statement: ast.For, frame: Frame) -> Any:
        items = self.evaluate(statement.iterable, frame)
        if not isinstance(items, tuple):
            hint = "write range(...) to count" if isinstance(items, int) else None
            raise error(f"`for` goes over lists, not {describe(items)}", statement.iterable.location, hint)
        for item in items:
            self.state.enter(frame, statement.location)
            self.state.leave()
            self._bind(statement.target, item, statement.iterable.location, frame)
            result = self.run(statement.body, frame)
            if result is not RUNNING:
                return result
        return RUNNING

    def _if(self, statement: ast.If, frame: Frame) -> Any:
        """Chains of `else if` are walked in a loop, not by recursion, up to what run time decides."""
        while True:
            condition = self.evaluate(statement.condition, frame)
            if isinstance(condition, Tensor):
                return self._at_run_time(statement, condition, frame)
            if arithmetic.truth(condition, statement.condition.location):
                return self.run(statement.yes, frame)
            if statement.no is None:
                return RUNNING
            following = statement.no.statements
            if len(following) != 1 or not isinstance(following[0], ast.If):
                return self.run(statement.no, frame)
            statement = following[0]

    def choose(self, node: ast.Conditional, condition: Value, frame: Frame) -> Any:
        """`if condition then yes else no` of a tensor."""
        check_condition(condition, node.condition.location)
        yes, no = (partial(self.evaluate, branch, frame) for branch in (node.yes, node.no))
        return choose(self.state, frame, condition, node.location, yes, no)

    def _at_run_time(self, statement: ast.If, condition: Value, frame: Frame) -> Any:
        check_condition(condition, statement.condition.location)
        yes = partial(self.run, statement.yes, frame)
        no = partial(self.run, statement.no, frame) if statement.no is not None else lambda: RUNNING
        is_read = partial(self.state.is_read_outside, statement=statement, frame=frame)
        return choose(self.state, frame, condition, statement.location, yes, no, is_read)
