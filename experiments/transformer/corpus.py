"""Sentence pairs that a transformer learns to translate."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ranking.array import Array

PADDING, END, UNKNOWN = 0, 1, 2  # numbers of words, in both languages
Pair = tuple[Sequence[int], Sequence[int]]


class Corpus(NamedTuple):
  """A pair of languages.

  Attributes:
    words: how many numbers each of the two languages has.
    lengths: the longest sentence of each, END included.
    training: by a seed, pairs without end; none is held out.
    held_out: pairs to measure errors on.
    unavoidable: the share of wrong words that the best translator has there; None if not known.
  """

  words: tuple[int, int]
  lengths: tuple[int, int]
  training: Callable[[int], Iterator[Pair]]
  held_out: Sequence[Pair]
  unavoidable: float | None


def padded(pairs: Sequence[Pair], lengths: tuple[int, int]) -> tuple[Array, Array]:
  """Sources and targets as int32 [pairs, length], with PADDING behind the END of each sentence."""
  sides = []
  for side, length in enumerate(lengths):
    array = np.full((len(pairs), length), PADDING, np.int32)
    for row, pair in zip(array, pairs, strict=True):
      row[: len(pair[side]) + 1] = [*pair[side], END]
    sides.append(array)
  return sides[0], sides[1]
