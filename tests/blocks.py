"""A source's log described in blocks, to be compared with the one described as a whole."""

import dataclasses
import itertools
import pickle
from collections import Counter

import numpy as np
import pandas as pd

from ranking.data.rows import columns_of, in_order, without_duplicates
from ranking.data.schema import Bag, Log, Source


def read_in_blocks(source: Source, block_rows: int = 3) -> Log:
  """As `rows.read_whole`, but from blocks of one day, each described as another process would."""
  read = [piece for part in source.parts() for piece in source.read(part)]
  rows, counts = without_duplicates(
    in_order([columns_of(piece) for piece, _ in read]), source.keep_duplicates
  )
  source, tables = pickle.loads(pickle.dumps((source, source.tables())))
  blocks = [
    source.describe(day[start : start + block_rows].reset_index(drop=True), tables)
    for _, day in rows.groupby("day")
    for start in range(0, len(day), block_rows)
  ]
  names = list(dict.fromkeys(name for block in blocks for name in block.day_names))
  cleaning = Counter(counts)
  for some in (*(counts for _, counts in read), *(block.cleaning for block in blocks)):
    cleaning.update(some)
  return dataclasses.replace(
    blocks[0],
    time=np.concatenate([block.time for block in blocks]),
    day=np.array([names.index(block.day_names[k]) for block in blocks for k in block.day]),
    day_names=names,
    categorical=pd.concat([block.categorical.astype(object) for block in blocks]),
    bags={name: _joined([block.bags[name] for block in blocks]) for name in blocks[0].bags},
    dense=pd.concat([block.dense for block in blocks]),
    labels=pd.concat([block.labels for block in blocks]),
    cleaning=dict(cleaning),
  )


def _joined(bags: list[Bag]) -> Bag:
  starts = np.cumsum([0, *(len(bag.lists) for bag in bags)])
  return Bag(
    [entry for bag in bags for entry in bag.lists],
    np.concatenate([bag.index + start for bag, start in zip(bags, starts[:-1], strict=True)]),
  )


def assert_same_log(one: Log, other: Log) -> None:
  """Value by value; of a bag also the order in which ids appear, which decides their numbers."""
  np.testing.assert_array_equal(one.time, other.time)
  np.testing.assert_array_equal(one.day, other.day)
  assert list(one.day_names) == list(other.day_names)
  assert one.cleaning == other.cleaning
  a, b = (log.categorical.astype(object).reset_index(drop=True) for log in (one, other))
  pd.testing.assert_frame_equal(a.where(a.notna(), None), b.where(b.notna(), None))
  for a, b in ((one.dense, other.dense), (one.labels, other.labels)):
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True))
  assert list(one.bags) == list(other.bags)
  for name, bag in one.bags.items():
    same = other.bags[name]
    assert [list(bag.lists[k]) for k in bag.index] == [list(same.lists[k]) for k in same.index]
    in_order_of_appearance = (
      list(dict.fromkeys(itertools.chain.from_iterable(bag.lists))) for bag in (bag, same)
    )
    assert next(in_order_of_appearance) == next(in_order_of_appearance)
