"""Hashed ids are those of their formula, whatever was read, and share one table."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ranking import configuration
from ranking.data.hashing import Hashing
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.store import DayStore
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from tests.conftest import TinySource
from tests.frames import FrameLog
from tests.toy_model import dense

BUCKETS = 7
COLUMNS = ["author_id", "user_id"]


def id_of(column: str, value: object) -> int:
  digest = hashlib.md5(f"{column}={value}".encode()).hexdigest()
  return 2 + int(digest[:7], 16) % BUCKETS


@pytest.fixture(scope="module")
def store(tiny_log: FrameLog, tmp_path_factory: pytest.TempPathFactory) -> DayStore:
  root = tmp_path_factory.mktemp("stores")
  return prepare(TinySource(tiny_log), root, hashing=Hashing(COLUMNS, BUCKETS))


def test_ids_are_those_of_their_formula_on_every_day(tiny_log: FrameLog, store: DayStore) -> None:
  ids = np.concatenate([day.ids for day in (*store.train_days, store.eval_day)])
  names = [feature.name for feature in store.schema.of_kind("categorical")]
  for column in COLUMNS:
    values = tiny_log.categorical[column]
    expected = [0 if v is None or v != v else id_of(column, _text(v)) for v in values]
    np.testing.assert_array_equal(ids[:, names.index(column)], expected)


def _text(value: object) -> object:
  return int(value) if isinstance(value, float) else value


def test_values_that_share_an_id_are_counted(tiny_log: FrameLog, store: DayStore) -> None:
  rows = sum(len(day) for day in store.train_days)
  values = {
    (column, _text(value))
    for column in COLUMNS
    for value in tiny_log.categorical[column][:rows].dropna()
  }
  users = Counter(id_of(*value) for value in values)
  shared = sum(count for count in users.values() if count > 1)
  assert (
    store.card["cleaning"][f"hashed values that share one of {BUCKETS} ids with another"] == shared
  )
  assert shared > 0


def test_the_columns_share_one_table(store: DayStore) -> None:
  network = Model(dense(4), Inputs(30)).build(store.schema)
  (table,) = (v for v in network.trainable_variables if "embedding_hashed" in v.name)
  assert table.shape[0] == 2 + BUCKETS
  assert not any(f"embedding_{column}/" in v.name for v in network.variables for column in COLUMNS)
  hashed = [feature for feature in store.schema.features if feature.table]
  assert [feature.name for feature in hashed] == [
    f.name for f in store.schema.of_kind("categorical") if f.name in COLUMNS
  ]


def test_a_column_that_cannot_be_hashed_is_refused(tiny_log: FrameLog, tmp_path: Path) -> None:
  for log, columns, message in (
    (tiny_log, ["author"], "names 'author', which is no categorical feature; the nearest is"),
    (
      dataclasses.replace(tiny_log, report_by="user_id"),
      ["user_id"],
      "names user_id, by whose val",
    ),
  ):
    with pytest.raises(DataError, match=message):
      prepare(TinySource(log), tmp_path, hashing=Hashing(columns, BUCKETS))
  with pytest.raises(DataError, match=r"^Hashing.buckets is 0; make it a whole number from 1 to"):
    Hashing(COLUMNS, 0)


def test_a_configuration_can_hash_the_columns_of_any_log() -> None:
  words = (
    "train_and_evaluate.hashing=@Hashing()",
    "Hashing.columns=['user_id']",
    "Hashing.buckets=1000",
  )
  made = configuration.read(config="small_clippy.gin", bindings=words)
  assert made.log.hashing == Hashing(["user_id"], 1000)
  assert made.identity()["log"]["hashing"] == {"Hashing": {"columns": ["user_id"], "buckets": 1000}}
