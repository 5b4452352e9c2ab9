"""The tasks, by name."""

from __future__ import annotations

import importlib
from functools import cache

from bench.measuring.accuracy.problem import Task

NAMES = ("signs", "speech", "voices", "watch", "wand")


@cache
def task_of(name: str) -> Task:
    """The task of the module of that name. Raises UsageError where its data are not there."""
    module = importlib.import_module(f"bench.measuring.accuracy.{name}")
    found: Task = module.task()
    return found
