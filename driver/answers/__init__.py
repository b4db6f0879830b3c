"""What a net's outputs say about a picture: a module for each task, found by the outputs' names and shapes.

A task is a class: it says which outputs it knows, and makes an `Answer` of them. `answer.task_of` knows where they are.
"""

from __future__ import annotations

from .answer import Answer, Choices, Outputs, Task, View, task_of

__all__ = ["Answer", "Choices", "Outputs", "Task", "View", "task_of"]
