"""Rows that were ranked together: their NDCG on day N, and a paired comparison by it."""

import json
from pathlib import Path

import numpy as np
import pytest

from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources.table import Table
from ranking.data.store import DayStore
from ranking.evaluation.evaluate import figures_of_probabilities
from ranking.evaluation.predictions import Predictions
from ranking.evaluation.users import users
from ranking.evaluation.within import Rows
from ranking.measures.differences import grouped_difference
from ranking.measures.groups import aucs_of_users, group_mean, ndcgs_of_requests
from ranking.sweeps.paired import over_seeds

ROWS = 240
RANDOM = np.random.default_rng(0)
# Three days of 80 rows; pages of four rows, every tenth row on none; two pages for each user.
PAGES = np.where(np.arange(ROWS) % 10, np.arange(ROWS) // 4, -1)
SEEN = RANDOM.integers(0, 2, ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
  return tmp_path_factory.mktemp("requests")


@pytest.fixture(scope="module")
def store(folder: Path) -> DayStore:
  lines = ["time,user,page,seen"]
  for k, (page, seen) in enumerate(zip(PAGES, SEEN, strict=True)):
    # The same ids on every day: a request is one of a day. Text, whose order is not that of rows.
    name = "" if page < 0 else f"p{page % 20 * 7 % 20}"
    day, user, second = 1 + k // 80, k // 8 % 10, k % 8
    lines.append(f"2026-03-0{day}T12:{user:02d}:{second:02d},u{user},{name},{seen}")
  (folder / "log.csv").write_text("\n".join(lines))
  source = Table(
    raw=str(folder / "log.csv"),
    categorical=["user"],
    binary=["seen"],
    entities=["user"],
    request="page",
  )
  return prepare(source, folder / "store")


def test_a_store_says_which_rows_of_a_day_were_ranked_together(store: DayStore) -> None:
  assert store.schema.requests
  requests = store.eval_day.requests
  assert requests is not None
  made = requests[:, 0]
  assert made.dtype == np.int64
  assert len(made) == 80
  order = np.argsort(np.array(store.eval_day.time), kind="stable")
  np.testing.assert_array_equal(order, np.arange(80))
  assert set(made) == set(range(21))
  for number in range(1, 21):
    assert 3 <= np.count_nonzero(made == number) <= 4
  assert store.card["cleaning"]["rows of no request"] == 24
  assert not any("requests" in each["text"] for each in store.card["warnings"])


def test_day_n_has_the_ndcg_of_its_requests(store: DayStore) -> None:
  day, of_users = store.eval_day, users(store.schema, store.eval_day)
  outputs = RANDOM.normal(size=80).astype(np.float32)
  labels, requests = np.array(day.labels)[:, 0], np.array(day.requests)[:, 0]
  rows = Rows.of(day, 0, of_users)
  found = figures_of_probabilities({"auc": 0.5, "logloss": 0.7}, rows, outputs)
  on_one = requests > 0
  columns = (labels[on_one], outputs[on_one], requests[on_one], of_users[on_one])
  expected = group_mean(ndcgs_of_requests(*columns))
  assert found["ndcg"] == expected.value
  assert found["ndcg_ci95"] == [*expected.ci95]
  assert found["ndcg_requests"] == expected.groups > 10
  assert found["gauc"] == group_mean(aucs_of_users(labels, outputs, of_users)).value
  lost = figures_of_probabilities({"auc": None}, rows, outputs)
  assert lost["ndcg"] is lost["ndcg_ci95"] is lost["ndcg_requests"] is lost["gauc_users"] is None


@pytest.mark.parametrize("measure", ["gauc", "ndcg"])
def test_runs_are_compared_by_users_or_requests(
  store: DayStore, tmp_path: Path, measure: str
) -> None:
  outputs = [RANDOM.normal(size=(80, 1)).astype(np.float32) for _ in range(2)]
  runs = [tmp_path / "a", tmp_path / "b"]
  for run, made in zip(runs, outputs, strict=True):
    run.mkdir()
    Predictions.of(made, store).save(run)
    (run / "result.json").write_text(json.dumps({"status": "ok", "store": str(store.directory)}))
  found = over_seeds([(runs[0], runs[1])], "seen", measure)
  rows = Rows.of(store.eval_day, 0, users(store.schema, store.eval_day))
  first, second = (rows.groups(measure, each[:, 0]) for each in outputs)
  assert found == grouped_difference(first.figures, second.figures, first.weights, first.units)
  assert found.value == pytest.approx(group_mean(first).value - group_mean(second).value)
  assert found.units <= 10  # users, whose requests come together
  assert found.standard_error > 0


def test_an_id_that_several_users_have_is_warned_of(folder: Path) -> None:
  text = (folder / "log.csv").read_text().replace(",p7,", ",p14,")
  (folder / "again.csv").write_text(text)
  made = prepare(
    Table(
      raw=str(folder / "again.csv"),
      categorical=["user"],
      binary=["seen"],
      entities=["user"],
      request="page",
    ),
    folder / "store",
  )
  (warning,) = [each["text"] for each in made.card["warnings"] if "requests" in each["text"]]
  said = "3 requests, as page has them, have rows of more than one user; an id must"
  assert warning.startswith(said)


def test_a_request_is_a_column() -> None:
  with pytest.raises(
    DataError, match=r"^Table\.request is 3; make it the name of a column of ids$"
  ):
    Table(categorical=["a"], binary=["b"], request=3)  # type: ignore[arg-type]
