"""Tasks: labelled texts, and how they become the batches that a program trains on."""

from workloads.tasks.batches import TaskBatches, batches
from workloads.tasks.inputs_file import FileInput, write_inputs
from workloads.tasks.read import BUILT_IN, built_in_task, read_task
from workloads.tasks.task import Example, Task, Template

__all__ = [
    "BUILT_IN",
    "Example",
    "FileInput",
    "Task",
    "TaskBatches",
    "Template",
    "batches",
    "built_in_task",
    "read_task",
    "write_inputs",
]
