"""What a net's outputs say about a picture: a module for each task, found by the outputs' names and shapes.

A task is a class that is registered (`answer.register`): it says which outputs it knows, and makes an `Answer` of them.
"""

from __future__ import annotations

from . import areas, boxes, classes
from .answer import Answer, Choices, Outputs, Task, View, task_of

__all__ = ["Answer", "Choices", "Outputs", "Task", "View", "areas", "boxes", "classes", "task_of"]
