"""The verdict on curves whose truth is known: a part of what experiments/verdicts.md counts."""

import re

import numpy as np
import pytest

from experiments.pages import EXPERIMENTS
from experiments.verdicts import recorded
from experiments.verdicts.judging import divergences, judge
from experiments.verdicts.library import KINDS, curve
from experiments.verdicts.simulation import Event, Task, simulate
from ranking.stability.divergence import DivergenceRule

SHORTEST = 3  # of so many curves of a kind, the one with the fewest numbers is judged


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_of_a_simulated_curve_of_each_kind_is_its_truth(kind: str) -> None:
  judged = judge(curve(kind, 7000 + KINDS.index(kind)), DivergenceRule())
  assert judged.said in judged.curve.statuses, judged.monitor.reason
  if "diverged" in judged.curve.statuses:
    assert judged.is_near


def test_the_verdict_of_recorded_runs_is_how_they_ended() -> None:
  short = [each for each in recorded.load() if each.steps <= 250][::3]
  assert len(short) > 15
  found = divergences(judge(each, DivergenceRule()) for each in short)
  assert (found.wrong, found.missed) == (0, 0)
  assert found.right > 3


def test_losses_of_a_simulated_run_are_those_of_its_rows() -> None:
  """A model that has learned all loses what the best one does; a lost one what a constant does."""
  click = Task("binary", 0.3, 1.2, overfit=0.0)
  losses, constants, labels, rarer, _ = simulate(0, [click], 300, 512, 5, [Event(200, None)])
  random = np.random.default_rng(1)
  logits = 1.2 * random.normal(size=1_000_000) + np.log(0.3 / 0.7)
  best = np.mean(np.logaddexp(0, logits) - logits / (1 + np.exp(-logits)))
  assert losses[50:199].mean() == pytest.approx(best, abs=0.01)
  assert losses[199:].mean() == pytest.approx(constants[199:].mean(), abs=1e-6)
  assert (labels == 512).all()
  assert rarer.mean() / 512 == pytest.approx(np.mean(1 / (1 + np.exp(-logits))), abs=0.01)


def test_the_page_says_that_what_was_asked_holds() -> None:
  """Divergence 0.99 and 0.99, micro-divergence 0.95 and 0.9, on curves not chosen by."""
  page = (EXPERIMENTS / "verdicts.md").read_text()
  (row,) = re.findall(r"^\| (\d+) simulated, not seen.*?\| (.*) \|$", page, re.MULTILINE)
  recall, precision, near, micro_recall, micro_precision = map(float, row[1].split(" | "))
  assert int(row[0]) >= 300
  assert min(recall, precision) >= 0.99
  assert near >= 0.95
  assert micro_recall >= 0.95
  assert micro_precision >= 0.9
