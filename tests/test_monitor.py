"""The verdict of a run, of its whole loss and of each task."""

import json
import math

import pytest

from ranking.stability import health
from ranking.stability.divergence import DivergenceRule, Measured
from ranking.stability.monitor import DivergenceMonitor, measured

PATIENCE, GRACE = DivergenceRule.patience, DivergenceRule.grace


def at(loss: float, spread: float = 1.0) -> Measured:
  return Measured(loss, 1.0, spread)


def watched(
  *tasks: tuple[float, float], steps: int = 2 * GRACE, turn: int = GRACE
) -> DivergenceMonitor:
  """A run whose tasks each have one loss up to the step `turn`, and another from there on."""
  monitor = DivergenceMonitor()
  for step in range(1, steps + 1):
    losses = [before if step <= turn else after for before, after in tasks]
    each = {f"task_{k}": at(loss) for k, loss in enumerate(losses)}
    monitor.update(step, at(sum(losses) / len(losses)), each)
  monitor.finish()
  return monitor


def test_a_run_whose_tasks_learn_is_ok_without_a_reason() -> None:
  monitor = watched((0.9, 0.8), (0.95, 0.9))
  assert (monitor.status, monitor.reason, monitor.diverged_at_step) == ("ok", None, None)
  assert {task: v["status"] for task, v in monitor.verdicts().items()} == {
    "task_0": "ok",
    "task_1": "ok",
  }


def test_a_task_that_is_lost_while_the_others_live_is_a_divergence_that_names_it() -> None:
  monitor = watched((0.8, 0.7), (0.8, 0.7), (0.9, 1.0))
  assert (monitor.status, monitor.diverged_at_step) == ("diverged", GRACE + 1)
  assert monitor.whole.diverged_at_step is None
  assert monitor.reason == (
    "task task_2: its loss, which had been 0.9 of the best constant's, was 1 of it at the end; "
    "the other tasks live"
  )
  verdicts = monitor.verdicts()
  assert [verdict["status"] for verdict in verdicts.values()] == ["ok", "ok", "diverged"]
  assert verdicts["task_2"]["step"] == GRACE + 1


def test_a_run_that_is_lost_as_a_whole_says_which_tasks_are() -> None:
  monitor = watched((0.8, 30.0), (0.9, 0.9))
  assert (monitor.status, monitor.diverged_at_step) == ("diverged", GRACE + 1)
  assert monitor.reason == (
    "its loss, which had been 0.85 of the best constant's, was 15.4 of it; lost tasks: task_0"
  )


def test_a_run_that_comes_back_in_part_has_diverged_and_recovered() -> None:
  monitor = DivergenceMonitor()
  for step in range(1, 801):
    loss = 0.8 if step <= 200 else 2.0 if step <= 400 else 0.9
    monitor.update(step, at(loss), {"click": at(loss)})
  monitor.finish()
  assert (monitor.status, monitor.diverged_at_step) == ("diverged", 201)
  assert monitor.recovered_at_step == pytest.approx(408, abs=1)
  assert monitor.reason == (
    "its loss, which had been 0.8 of the best constant's, was 2 of it; lost tasks: click; "
    f"learned again from step {monitor.recovered_at_step}"
  )


def test_a_run_that_learns_nothing_says_how_much_it_saw() -> None:
  monitor = DivergenceMonitor()
  for step in range(1, GRACE + 1):
    click = Measured(1.0, 1.0, 1.0, labels=256, rarer=2)
    monitor.update(step, click, {"click": click})
    assert monitor.status == "ok"
  assert monitor.finish() == "learned_nothing"
  assert monitor.reason == (
    "in 200 steps with 400 of 51,200 labels on the rarer side its loss was never surely below the "
    "best constant's; it was 1.000 of it at the end"
  )


def test_a_run_that_is_too_short_to_tell_is_ok_and_says_so() -> None:
  monitor = watched((1.0, 1.0), (1.0, 1.0), steps=GRACE - 1)
  assert monitor.status == "ok"
  assert monitor.reason == (
    f"in {GRACE - 1} steps neither the whole loss nor that of any task was surely below the best "
    "constant's"
  )


def test_a_task_that_learns_nothing_beside_others_is_no_verdict_of_the_run() -> None:
  monitor = watched((0.8, 0.8), (1.0, 1.0))
  assert (monitor.status, monitor.reason) == ("ok", None)
  assert monitor.verdicts()["task_1"]["status"] == "learned_nothing"


def test_a_task_without_a_label_has_learned_nothing_however_short_the_run() -> None:
  monitor = DivergenceMonitor()
  for step in range(1, 4):
    survey = Measured(0.0, 0.0, 1.0, labels=0, rarer=0)
    never = Measured(0.1, 0.1, 1.0, labels=64, rarer=0)
    monitor.update(step, at(0.9), {"survey": survey, "never": never})
  monitor.finish()
  verdicts = monitor.verdicts()
  assert verdicts["survey"]["status"] == verdicts["never"]["status"] == "learned_nothing"
  assert verdicts["survey"]["reason"] == "none of its 3 steps had a label"


def test_a_task_may_micro_diverge_alone() -> None:
  monitor = DivergenceMonitor()
  for step in range(1, 401):
    each = {"click": at(0.8), "like": at(5.0 if step == 300 else 0.8)}
    monitor.update(step, at(0.8), each)
  monitor.finish()
  assert monitor.status == "ok"  # the whole loss did not notice
  like = monitor.verdicts()["like"]
  assert (like["status"], like["micro_divergences"]) == ("micro_diverged", [300])
  assert like["reason"] == "its loss left its running band at step 300, and came back"


def test_a_dead_tower_is_named() -> None:
  monitor = DivergenceMonitor()
  for step in range(1, 401):
    each = {"click": at(0.8), "like": at(0.9, spread=0.0 if step > 100 else 1.0)}
    monitor.update(step, at(0.85), each)
  assert monitor.status == "diverged"
  assert monitor.reason == "task like: all its outputs were equal; the other tasks live"


def test_ten_skipped_steps_in_a_row_diverge_at_the_first_of_them_and_name_the_task() -> None:
  monitor = DivergenceMonitor()
  monitor.update(6, at(0.9), {"click": at(0.9), "like": at(0.9)})
  verdicts = [monitor.skip(step, ["like"]) for step in range(7, 17)]
  assert verdicts == ["ok"] * 9 + ["diverged"]
  assert (monitor.diverged_at_step, monitor.skipped_steps) == (7, 10)
  assert monitor.reason == ("the loss of like was not finite, 10 steps in a row; lost tasks: like")
  assert monitor.verdicts()["click"]["status"] == "ok"


def test_a_step_that_is_taken_ends_a_row_of_skipped_ones() -> None:
  monitor = DivergenceMonitor(DivergenceRule(max_skipped=3))
  for step in range(1, 30):
    verdict = monitor.update(step, at(0.8), {}) if step % 3 == 0 else monitor.skip(step)
    assert verdict == "ok"
  assert monitor.skipped_steps == 20


def test_a_monitor_saved_as_json_goes_on_as_if_never_stopped() -> None:
  straight, saved = DivergenceMonitor(DivergenceRule(patience=20)), DivergenceMonitor()
  saved = DivergenceMonitor(straight.rule)
  for step in range(1, 300):
    each = {"click": at(0.8), "like": at(4.0 if step > 200 else 0.9)}
    for monitor in (straight, saved):
      if step % 40 == 0:
        monitor.skip(step)
      else:
        monitor.update(step, at(0.85), each)
    if step in (10, 210):
      saved = DivergenceMonitor.of(saved.rule, json.loads(json.dumps(saved.state())))
  straight.finish()
  saved.finish()
  assert saved == straight
  assert (saved.status, saved.diverged_at_step) == ("diverged", 201)


def test_a_line_of_the_series_says_what_a_step_measured() -> None:
  row = dict.fromkeys(health.names(["click", "rating"]), 0.0)
  row |= {"loss": 3.0, "constant_loss": 4.0, "output_spread": 2.0}
  row |= {"click/loss": 0.5, "click/constant_loss": 1.0, "click/output_spread": 1.0}
  row |= {"click/labels": 10.0, "click/positives": 8.0}
  row |= {"rating/loss": 2.5, "rating/constant_loss": 3.0, "rating/output_spread": 2.0}
  row |= {"rating/labels": 6.0, "rating/positives": 3.0}
  whole, of_task = measured(row, ["click", "rating"])
  assert of_task == {
    "click": Measured(0.5, 1.0, 1.0, 10.0, 2.0),
    "rating": Measured(2.5, 3.0, 2.0, 6.0, 3.0),
  }
  assert whole == Measured(3.0, 4.0, 2.0, (10 + 3 * 6) / 4, (2 + 3 * 3) / 4)
  earlier = {"loss": 3.0, "constant_loss": 4.0, "output_spread": 2.0, "click/loss": 0.5}
  assert measured(earlier, ["click"]) == (Measured(3.0, 4.0, 2.0, 1.0, math.inf), {})
