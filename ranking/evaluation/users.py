"""Whose row each row of a day is."""

import numpy as np

from ranking.array import Array
from ranking.data.features import FIRST_ID
from ranking.data.schema import Schema
from ranking.data.store import Day


def users(schema: Schema, day: Day) -> Array:
  """Who each row of a day belongs to, int64 [n]: equal numbers, one user.

  A store cannot tell apart the users that are missing, unseen in the training days or rare there.
  Each row of theirs gets a number of its own, as do all rows of a log without entities. What such
  a user's rows have in common is then taken for chance, which makes intervals slightly too narrow:
  on kuairand's last day, where they are 9 % of the rows, by less than 1 %.
  """
  rows = np.arange(len(day))
  if not schema.entities:
    return rows
  names = [feature.name for feature in schema.of_kind("categorical")]
  ids = day.ids[:, names.index(schema.entities[0])].astype(np.int64)
  return np.where(ids < FIRST_ID, -1 - rows, ids)
