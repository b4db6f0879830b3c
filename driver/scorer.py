"""How the weights of a training run do on the test split, between its epochs."""

from __future__ import annotations

from .pipeline import PROGRAM, Request, build, load_program
from .runtime.data.layout import as_input
from .runtime.evaluation.scoring import assist
from .runtime.program import Program
from .runtime.trainer import Trainer
from .runtime.training.batches import Maker
from .runtime.training.loop import Scores
from .training_job import Job


class Scorer:
    """Results on the test split, measured with the net compiled for inference; its program is kept between calls."""

    def __init__(self, job: Job, trainer: Trainer, tests: Maker) -> None:
        """`tests` makes the batches."""
        self._job = job
        self._tests = tests
        self._trainer = trainer
        self._compilation = build(Request(trainer.evaluated, threads=job.threads, cpu=job.setup.cpu), PROGRAM)
        self._program: Program | None = None

    def __call__(self) -> Scores:
        """How the trainer's present weights do."""
        result = self._job.score(self._present(), self._tests)
        few = self._job.graph.outputs[0].type.shape[-1] <= 10
        results = {name: value for name, value in result.results.items() if name != "top5" or not few}
        return Scores(results, result.skipped, result.score)

    def assist(self) -> None:
        """What a rank but the first does when the weights are scored."""
        job = self._job
        type_, program = job.graph.inputs[0].type, self._present()
        assist((lambda x: program(as_input(x, type_)),), job.test, self._tests, job.said.batch, job.world)

    def _present(self) -> Program:
        """The program with the trainer's present weights."""
        weights = self._trainer.evaluated_weights(averaged=self._job.recipe.ema is not None)
        if self._program is None:
            self._program = load_program(self._compilation, weights)
        else:
            self._program.repack(weights)
        return self._program

    def close(self) -> None:
        """End the program's threads."""
        if self._program is not None:
            self._program.close()
