"""The ordered task: its loss against probabilities in float64, its figures against SciPy."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special, stats

from ranking.array import Array
from ranking.data import pack
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.tasks import LabelStatistics, Task
from ranking.tasks.binary import Binary
from ranking.tasks.ordered import Ordered
from tests.conftest import TinySource
from tests.frames import FrameLog

RANDOM = np.random.default_rng(0)
LEVELS = np.array([0.5, 1, 3, 3.5, 5])
STARS = RANDOM.choice(LEVELS, size=600, p=[0.05, 0.1, 0.15, 0.4, 0.3]).astype(np.float32)
OUTPUTS = (STARS - 3 + RANDOM.normal(size=600)).astype(np.float32)
KNOWN = LabelStatistics.of(STARS, count_levels=True)


def losses(labels: Array, outputs: Array, known: LabelStatistics = KNOWN) -> Array:
  found: Array = Ordered().losses(tf.constant(labels), tf.constant(outputs), known).numpy()
  return found


def twin(labels: Array, outputs: Array) -> Array:
  """-log P of each level, in float64, from the shares as they stand."""
  found = []
  for label, output in zip(labels, outputs.astype(np.float64), strict=True):
    at_most, below = (label >= STARS).mean(), (label > STARS).mean()
    # On the side where probabilities are small, so that their difference has all its digits.
    if output > 0:
      p = special.expit(special.logit(at_most) - output) - special.expit(
        special.logit(below) - output
      )
    else:
      p = special.expit(output - special.logit(below)) - special.expit(
        output - special.logit(at_most)
      )
    found.append(-np.log(p))
  return np.array(found)


def test_the_loss_is_minus_the_log_of_the_levels_probability() -> None:
  expected = twin(STARS, OUTPUTS)
  np.testing.assert_allclose(losses(STARS, OUTPUTS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", [-50.0, -20.0, 0.0, 20.0, 50.0])
def test_far_out_it_keeps_its_digits(output: float) -> None:
  labels = LEVELS.astype(np.float32)
  outputs = np.full(5, output, np.float32)
  np.testing.assert_allclose(losses(labels, outputs), twin(labels, outputs), rtol=1e-5, atol=1e-6)
  measured = Ordered().evaluate(labels, outputs, KNOWN)
  assert measured["logloss"] == pytest.approx(twin(labels, outputs).mean(), rel=1e-9)


def test_at_0_each_level_has_its_share_of_the_training_days_and_no_constant_loses_less() -> None:
  assert Ordered().constant_output(KNOWN) == 0
  shares = np.array([(level == STARS).mean() for level in LEVELS])
  at_0 = losses(LEVELS.astype(np.float32), np.zeros(5, np.float32))
  np.testing.assert_allclose(np.exp(-at_0), shares, rtol=1e-5)

  def mean(output: float) -> float:
    return float(twin(LEVELS, np.full(5, output)) @ shares)

  assert optimize.minimize_scalar(mean).x == pytest.approx(0, abs=1e-6)


def test_two_levels_are_the_binary_task_shifted_by_its_best_constant() -> None:
  labels = (STARS > 3).astype(np.float32)
  known = LabelStatistics.of(labels, count_levels=True)
  shifted = OUTPUTS + np.float32(Binary().constant_output(known))
  expected = Binary().losses(tf.constant(labels), tf.constant(shifted), known)
  np.testing.assert_allclose(losses(labels, OUTPUTS, known), expected, rtol=1e-5, atol=1e-6)
  ours = Ordered().evaluate(labels, OUTPUTS.astype(np.float64), known)
  theirs = Binary().evaluate(
    labels, OUTPUTS.astype(np.float64) + Binary().constant_output(known), known
  )
  assert (ours["concordance"], ours["ci95"]) == (theirs["auc"], theirs["ci95"])
  for figure in ("logloss", "calibration"):
    assert ours[figure] == pytest.approx(theirs[figure], rel=1e-9)


def test_the_figures_are_somers_d_and_the_expected_level() -> None:
  measured = Ordered().evaluate(STARS, OUTPUTS, KNOWN)
  d = stats.somersd(STARS, OUTPUTS).statistic
  assert measured["concordance"] == pytest.approx((1 + d) / 2, rel=1e-12)
  assert measured["ci95"][0] < measured["concordance"] < measured["ci95"][1]
  assert measured["logloss"] == pytest.approx(twin(STARS, OUTPUTS).mean(), rel=1e-9)
  p = np.stack([np.exp(-twin(np.full(600, level), OUTPUTS)) for level in LEVELS])
  np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-9)
  assert measured["calibration"] == pytest.approx((LEVELS @ p).mean() / STARS.mean(), rel=1e-6)


def test_an_unseen_level_is_learnt_as_the_nearest_but_ranked_as_itself() -> None:
  unseen = np.array([-4, 0.75, 1.9, 2.1, 4.25, 9], np.float32)
  nearest = np.array([0.5, 0.5, 1, 3, 3.5, 5], np.float32)
  outputs = np.linspace(-2, 2, 6).astype(np.float32)
  np.testing.assert_array_equal(losses(unseen, outputs), losses(nearest, outputs))
  ours, theirs = (Ordered().evaluate(each, outputs, KNOWN) for each in (unseen, nearest))
  assert ours["logloss"] == theirs["logloss"]
  assert ours["concordance"] == 1
  tied = outputs[[1, 0, 2, 3, 4, 5]]
  assert Ordered().evaluate(unseen, tied, KNOWN)["concordance"] == 14 / 15
  assert Ordered().evaluate(nearest, tied, KNOWN)["concordance"] == 1


def test_a_label_without_levels_in_the_training_days_has_no_figure() -> None:
  none = LabelStatistics.of(np.full(3, np.nan), count_levels=True)
  measured = Ordered().evaluate(STARS, OUTPUTS, none)
  figures = ("concordance", "logloss", "calibration")
  assert [measured[figure] for figure in figures] == [None, None, None]


def test_the_outputs_of_means_expect_these() -> None:
  means = np.linspace(0.6, 4.9, 50)
  for mean, output in zip(means, Ordered().outputs_of(means, KNOWN), strict=True):
    p = np.exp(-twin(LEVELS, np.full(5, output)))
    assert p @ LEVELS == pytest.approx(mean, abs=1e-4)


def test_a_difference_is_that_of_the_concordances_and_its_error_what_leaving_out_users_shows() -> (
  None
):
  users = RANDOM.integers(0, 60, size=600)
  second = (OUTPUTS + RANDOM.normal(size=600)).astype(np.float32)
  found = Ordered().difference(STARS, OUTPUTS, second, users)

  def difference(rows: Array) -> float:
    first, other = (stats.somersd(STARS[rows], s[rows]).statistic for s in (OUTPUTS, second))
    return float(first - other) / 2

  assert found.value == pytest.approx(difference(np.arange(600)), rel=1e-9)
  assert found.units == 60
  without = [difference(np.flatnonzero(users != user)) for user in range(60)]
  jackknife = np.sqrt(59 * np.var(without))
  assert found.standard_error == pytest.approx(jackknife, rel=0.05)


def test_a_store_has_the_levels_of_its_training_days(
  tiny_log: FrameLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(pack, "BLOCK_ROWS", 20)  # of 70, 50 and 60 a day
  ordered = (*tiny_log.tasks[:2], Task("stars", "ordered"))
  store = prepare(TinySource(dataclasses.replace(tiny_log, tasks=ordered), {}), tmp_path)
  train = tiny_log.labels.stars[tiny_log.day < 3].dropna()
  counts = train.value_counts().sort_index()
  expected = tuple(zip(counts.index.tolist(), counts.tolist(), strict=True))
  assert store.schema.label_statistics[2].levels == expected
  assert store.schema.label_statistics[0].levels == ()
  card = json.loads((store.directory / "schema.json").read_text())
  assert card["label_statistics"][2]["levels"] == [[*level] for level in expected]


def test_too_many_levels_are_named_though_no_day_has_them_all(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  with pytest.raises(ValueError, match=r"^is ordered but holds 101 different values, 100\.0 among"):
    Ordered().check(np.arange(101.0))
  with pytest.raises(ValueError, match=r"^holds an infinite value; drop or clip such rows$"):
    Ordered().check(np.array([1.0, np.inf]))
  labels = tiny_log.labels.assign(stars=np.arange(len(tiny_log.labels)) % 200)
  tasks = (*tiny_log.tasks[:2], Task("stars", "ordered"))
  log = dataclasses.replace(tiny_log, labels=labels.astype(np.float32), tasks=tasks)
  with pytest.raises(DataError, match=r"^label stars is ordered but holds "):
    prepare(TinySource(log, {}), tmp_path)
