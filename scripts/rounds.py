"""Times contestants in turn: load that comes and goes, and warm caches, weigh on all alike."""

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]  # of each contestant, by round


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
  """Seconds of every contestant in every round; each round starts with another one."""
  names = list(contestants)
  seconds: Seconds = {name: [] for name in names}
  for run in contestants.values():
    run()  # traces and compiles
  for k in range(rounds):
    first = k % len(names)
    for name in names[first:] + names[:first]:
      started = time.perf_counter()
      contestants[name]()
      seconds[name].append(time.perf_counter() - started)
  return seconds


def ratios(seconds: Seconds, of: str, to: str) -> list[float]:
  """A ratio for each round."""
  return [ours / theirs for ours, theirs in zip(seconds[of], seconds[to], strict=True)]


def in_ms(seconds: Seconds, of: str, to: str, digits: int = 1) -> list[str]:
  """The median of a contestant in ms, and that of its ratios to another."""
  ratio = statistics.median(ratios(seconds, of, to))
  return [f"{1e3 * statistics.median(seconds[of]):.{digits}f}", f"{ratio:.2f}"]
