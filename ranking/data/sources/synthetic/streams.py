"""Random numbers in streams: what one part of the log draws leaves the others as they are."""

import copy
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from ranking.array import Array

Draw = Callable[[np.random.Generator, int], Array]
UNIFORM: Final[Draw] = np.random.Generator.random
ROWS_AT_ONCE: Final = 50_000  # so few that what is made of them stays in the processor's cache


def streams(
  bits: np.random.PCG64, num_rows: int, draws: Mapping[str, Draw]
) -> dict[str, np.random.Generator]:
  """A stream per draw, which gives some rows after the other.

  All of them are cut from one, which holds a draw for all `num_rows` rows, then the next draw:
  logs were made like that, all rows at once, when figures were first published.
  """
  streams = {}
  for name, draw in draws.items():
    streams[name] = np.random.Generator(copy.deepcopy(bits))
    if draw is UNIFORM:
      bits.advance(num_rows)
    else:  # takes a count of random numbers that is known only once they are drawn
      for start in range(0, num_rows, ROWS_AT_ONCE):
        draw(np.random.Generator(bits), min(ROWS_AT_ONCE, num_rows - start))
  return streams
