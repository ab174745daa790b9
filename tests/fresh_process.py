"""For tests that need TensorFlow before it has started its devices."""

import concurrent.futures
import multiprocessing
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def in_fresh_process(function: Callable[[], Result]) -> Result:
  """What a function of a test module returns in a process of its own."""
  spawn = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
    return pool.submit(function).result()
