import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from ranking.array import Array
from ranking.stability.divergence import DivergenceRule, Judge, Measured

STEPS = 400
PATIENCE, GRACE = DivergenceRule.patience, DivergenceRule.grace


def learning(steps: int = STEPS, seed: int = 0, noise: float = 0.01) -> Array:
  """Relative losses of a healthy run: from 1 down to 0.75, with normal noise."""
  descent = 0.75 + 0.25 * np.exp(-np.arange(steps) / 40)
  return descent + noise * np.random.default_rng(seed).normal(size=steps)


def watch(
  losses: Array,
  constant: Array | float = 1.0,
  spread: Array | float = 1.0,
  rarer: Array | float = math.inf,
  of_task: bool = False,
) -> tuple[Judge, list[str]]:
  """A judge that has seen a whole run, and its verdict after each step and at the end."""
  judge, verdicts = Judge(of_task=of_task), []
  columns = np.broadcast_arrays(losses, constant, spread, 1.0, rarer)
  for step, values in enumerate(zip(*columns, strict=True), start=1):
    judge.update(step, Measured(*map(float, values)))
    verdicts.append(str(judge.status))
  judge.finish()
  return judge, [*verdicts, str(judge.status)]


def labels_with_rare_and_skewed_tasks(
  seed: int, steps: int = 600, rows: int = 512
) -> tuple[Array, Array]:
  """Losses and constant losses of a model that learns, on labels as logs have them.

  Clicks (30 %), likes (1 %), a log-normal watch ratio clipped at 5, and the log of watch seconds of
  which a tenth are 0; one hidden trait of a row moves them all, and the model learns to see it.
  """
  random = np.random.default_rng(seed)
  trait, chance = random.normal(size=(2, steps, rows))
  skill = 1 - np.exp(-np.arange(steps) / 100)[:, None]
  loss, constant = np.zeros((2, steps, rows))
  for rate in (0.3, 0.01):
    bias = np.log(rate / (1 - rate))
    label = random.random((steps, rows)) < 1 / (1 + np.exp(-(trait + bias)))
    known = np.log(label.mean() / (1 - label.mean()))
    loss += np.log1p(np.exp(skill * trait + bias)) - label * (skill * trait + bias)
    constant += np.log1p(np.exp(known)) - label * known
  ratio = np.minimum(np.exp(0.7 * trait + chance), 5)
  seconds = np.exp(2 + trait + 1.5 * random.normal(size=(steps, rows)))
  for label in (ratio, np.log1p(seconds * (random.random((steps, rows)) > 0.1))):
    slope = np.mean((label - label.mean()) * trait)
    loss += (label - label.mean() - skill * slope * trait) ** 2
    constant += (label - label.mean()) ** 2
  return loss.mean(axis=1), constant.mean(axis=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_noisy_descent_is_ok(seed: int, noise: float) -> None:
  assert set(watch(learning(seed=seed, noise=noise))[1]) == {"ok"}


@pytest.mark.parametrize("seed", range(10))
def test_rare_and_skewed_labels_are_no_divergence(seed: int) -> None:
  losses, constant = labels_with_rare_and_skewed_tasks(seed)
  assert np.std(losses[-100:]) > 0.04  # noise that is worth a test
  assert set(watch(losses, constant)[1]) == {"ok"}


def test_a_hard_batch_is_judged_by_what_the_constant_predictor_loses_on_it() -> None:
  hardness = np.random.default_rng(0).lognormal(sigma=1.5, size=STEPS)
  assert hardness.max() > 30
  assert set(watch(learning() * hardness, hardness)[1]) == {"ok"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["loss", "output_spread"])
def test_a_value_that_is_not_finite_diverges_at_its_step(bad: float, what: str) -> None:
  losses, spread = learning(), np.ones(STEPS)
  (losses if what == "loss" else spread)[122] = bad
  monitor, verdicts = watch(losses, spread=spread)
  assert monitor.diverged_at_step == 123
  assert verdicts == ["ok"] * 122 + ["diverged"] * (STEPS - 122 + 1)


def test_nothing_undoes_a_divergence_but_that_it_came_back_is_said() -> None:
  losses = learning(800)
  losses[200:400] = 3.0
  judge, verdicts = watch(losses)
  assert (verdicts[-1], judge.diverged_at_step) == ("diverged", 201)
  assert judge.recovered_at_step == pytest.approx(408, abs=1)  # the median needs 8 of 15
  losses[700:] = 3.0
  assert watch(losses)[0].recovered_at_step is None


@pytest.mark.parametrize("level", [1.0, 1.2, 50.0])
def test_a_loss_that_stays_lost_diverges_at_the_step_it_was_lost(level: float) -> None:
  losses = learning()
  losses[200:] = level
  monitor, verdicts = watch(losses)
  assert monitor.diverged_at_step == 201  # though the median of 15 shows it at 208
  assert verdicts.index("diverged") == 200 + PATIENCE - 1  # after `PATIENCE` lost steps


def test_a_loss_that_comes_back_before_patience_is_over_does_not_diverge() -> None:
  losses = learning()
  losses[200:240] = 1.05
  monitor, _ = watch(losses)
  assert monitor.diverged_at_step is None


def test_a_run_that_is_lost_at_its_end_has_diverged() -> None:
  losses = learning()
  losses[-30:] = 3.0  # shorter than patience
  monitor, verdicts = watch(losses)
  assert verdicts[-2:] == ["ok", "diverged"]
  assert monitor.diverged_at_step == STEPS - 29


def test_outputs_that_are_all_equal_diverge_though_the_loss_is_fine() -> None:
  spread = np.ones(STEPS)
  spread[150:] = 0.0
  monitor, verdicts = watch(learning(), spread=spread)
  assert monitor.diverged_at_step == 151
  assert verdicts.index("diverged") == 151 + PATIENCE - 2


def test_a_run_that_blew_up_and_does_not_learn_diverges_when_grace_is_over() -> None:
  losses = 1 + 0.001 * np.random.default_rng(0).normal(size=GRACE + 100)
  losses[20:60] = 3.0
  monitor, verdicts = watch(losses)
  assert monitor.diverged_at_step == 21
  assert monitor.reason == "its loss blew up to 3 of the best constant's and did not learn"
  assert verdicts.index("diverged") == GRACE - 1


def test_dead_outputs_from_the_start_diverge_when_grace_is_over() -> None:
  monitor, verdicts = watch(np.full(STEPS, 0.5), spread=0.0)
  assert monitor.diverged_at_step == 1
  assert verdicts.index("diverged") == GRACE - 1


@pytest.mark.parametrize("steps", [GRACE - 1, GRACE, 3 * GRACE])
def test_a_run_that_never_learns_has_learned_nothing_once_it_was_long_enough_to_tell(
  steps: int,
) -> None:
  judge, verdicts = watch(np.full(steps, 1.0))
  assert set(verdicts) == {"ok"}
  assert judge.has_learned_nothing == (steps >= GRACE)


def test_a_low_blow_up_that_is_over_is_none_of_a_run_that_cannot_learn() -> None:
  losses = np.full(3 * GRACE, 1.0)
  losses[5:40] = 1.4
  assert set(watch(losses)[1]) == {"ok"}


def test_a_task_that_blew_up_at_the_start_and_is_back_at_the_constant_may_be_slow() -> None:
  losses = np.full(3 * GRACE, 1.0)
  losses[5:40] = 20.0
  assert set(watch(losses, of_task=True)[1]) == {"ok"}
  assert watch(losses)[1][-1] == "diverged"


def test_what_a_task_learned_may_fade_and_come_back_with_the_shared_layers() -> None:
  losses = learning(800)
  losses[200:400] = 1.0
  assert set(watch(losses, of_task=True)[1]) == {"ok", "micro_diverged"}
  assert watch(losses)[1][-1] == "diverged"
  losses[400:] = 1.0
  judge, verdicts = watch(losses, of_task=True)
  assert (verdicts[-2:], judge.diverged_at_step) == (["ok", "diverged"], 201)


def test_a_task_that_blew_up_is_given_up_as_a_run_is() -> None:
  losses = learning(800)
  losses[200:] = 4.0
  judge, verdicts = watch(losses, of_task=True)
  assert (judge.diverged_at_step, verdicts.index("diverged")) == (201, 200 + PATIENCE - 1)


def test_slow_learning_is_no_divergence() -> None:
  assert set(watch(np.concatenate([np.full(3 * GRACE, 1.0), learning()]))[1]) == {"ok"}


def test_a_run_may_start_above_the_reference_and_learn_within_grace() -> None:
  losses = np.concatenate([np.linspace(3, 1.05, GRACE - 100), learning()])
  assert set(watch(losses)[1]) == {"ok"}


@pytest.mark.parametrize(
  ("during", "after", "found"),
  [
    (0.9, 0.9, []),  # a new level that still knows something
    (5.0, 0.95, [201]),  # lost on the way to it
    (5.0, 0.75, [201]),  # and back to the old one
  ],
)
def test_a_jump_that_lost_the_run_on_its_way_has_micro_diverged_wherever_it_ends(
  during: float, after: float, found: list[int]
) -> None:
  losses = learning()
  losses[200:230], losses[230:] = during, after
  monitor, verdicts = watch(losses)
  assert monitor.micro_divergences == found
  assert verdicts[-1] == ("micro_diverged" if found else "ok")


def test_a_run_that_learned_for_a_moment_blew_up_and_came_back_has_micro_diverged() -> None:
  losses = np.concatenate([np.full(12, 0.9), np.full(30, 5.0), np.full(300, 0.85)])
  monitor, verdicts = watch(losses)
  (blown_up_at,) = monitor.micro_divergences
  assert 13 <= blown_up_at <= 20
  assert verdicts[-1] == "micro_diverged"


@pytest.mark.parametrize(("lost", "found"), [(PATIENCE - 20, []), (PATIENCE + 20, [5])])
def test_a_run_that_blows_up_at_once_and_takes_long_to_come_back_has_micro_diverged(
  lost: int, found: list[int]
) -> None:
  start = np.concatenate([np.full(4, 1.0), np.full(lost, 5.0)])
  monitor, verdicts = watch(np.concatenate([start, np.full(200, 0.9)]))
  assert monitor.micro_divergences == found
  assert verdicts[-1] == ("micro_diverged" if found else "ok")


def test_a_spike_before_learning_has_begun_is_no_micro_divergence() -> None:
  losses = np.concatenate([np.full(200, 1.0), learning()])
  losses[150] = 2.0
  assert set(watch(losses)[1]) == {"ok"}


@pytest.mark.parametrize(
  ("relative", "steps", "verdict"),
  [
    (1.2, 1, "ok"),
    (1.2, PATIENCE - 1, "ok"),
    (1.2, PATIENCE, "diverged"),
    (1.0, PATIENCE, "ok"),  # it may only be slow
    (1.0, GRACE, "ok"),
  ],
)
def test_a_run_that_ends_too_soon_is_not_judged(relative: float, steps: int, verdict: str) -> None:
  assert watch(np.full(steps, relative))[1][-1] == verdict


@pytest.mark.parametrize("end", [1.2, 1.9])
def test_a_short_run_that_is_coming_down_is_not_judged_before_grace_is_over(end: float) -> None:
  assert set(watch(np.linspace(3.0, end, GRACE - 1))[1]) == {"ok"}
  losses = np.ones(GRACE - 1)
  losses[40:60] = 1e9  # but not one that exploded and knows nothing since
  judge, verdicts = watch(losses)
  assert (verdicts[-1], judge.diverged_at_step) == ("diverged", 41)
  losses = np.linspace(1.0, 3.0, GRACE - 1)  # nor one that goes up
  assert watch(losses)[1][-1] == "diverged"


def test_a_short_run_that_was_below_and_is_lost_has_diverged() -> None:
  monitor, verdicts = watch(np.array([0.8] * 10 + [9.0] * 12))
  assert (monitor.diverged_at_step, verdicts[-1]) == (11, "diverged")


def test_a_hard_last_batch_or_a_few_do_not_lose_a_run() -> None:
  losses = learning()
  losses[-7:] = 9.0  # the median of 15 does not see it
  assert watch(losses)[0].diverged_at_step is None


def test_the_margin_decides_what_is_learning() -> None:
  assert not watch(np.full(STEPS, 0.975))[0].has_learned_nothing
  assert watch(np.full(STEPS, 0.985))[0].has_learned_nothing


def test_few_labels_are_judged_together() -> None:
  losses = np.tile([0.0, 0.0, 0.0, 4.0], 200)  # one batch of four has the positive
  constant = np.tile([0.01, 0.01, 0.01, 3.97], 200)
  assert watch(losses, constant)[0].level == 0.0  # as if labels were many
  judge, verdicts = watch(losses, constant, rarer=np.tile([0, 0, 0, 1.0], 200))
  assert set(verdicts) == {"ok"}
  assert judge.level is None
  assert judge.latest == pytest.approx([1.0] * len(judge.latest))
  assert np.diff(judge.latest_steps).tolist() == [32] * (len(judge.latest) - 1)


@pytest.mark.parametrize(("rarer", "learned"), [(1e4, True), (20.0, False)])
def test_what_so_few_labels_can_do_by_chance_is_no_learning(rarer: float, learned: bool) -> None:
  judge, _ = watch(np.full(10, 0.97), rarer=rarer)
  assert (judge.level is not None) == learned


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_task_that_cannot_be_learnt_is_no_divergence(seed: int) -> None:
  """46 positives in 8,000 rows, of a model that makes noise of the users it has seen."""
  random = np.random.default_rng(seed)
  label = random.random((94, 64)) < 0.006
  output = np.log(0.006) + 0.3 * random.normal(size=label.shape)
  losses = np.log1p(np.exp(output)) - label * output
  constant = np.log1p(0.006) - label * np.log(0.006)
  judge, verdicts = watch(losses.mean(axis=1), constant.mean(axis=1), rarer=label.sum(axis=1))
  assert set(verdicts) == {"ok"}
  assert judge.level is None


@pytest.mark.parametrize("length", [1, 5, PATIENCE - 1])
def test_a_spike_that_returns_is_a_micro_divergence_at_its_step(length: int) -> None:
  losses = learning()
  losses[250 : 250 + length] += 0.2
  monitor, verdicts = watch(losses)
  assert monitor.micro_divergences == [251]
  assert verdicts[249 + length : 251 + length] == ["ok", "micro_diverged"]
  assert verdicts[-1] == "micro_diverged"
  assert monitor.diverged_at_step is None


def test_every_spike_is_counted_with_its_step() -> None:
  losses = learning(800)
  for step in (200, 320, 321, 500):
    losses[step - 1] += 0.5
  assert watch(losses)[0].micro_divergences == [200, 320, 500]


def test_a_spike_within_eight_deviations_or_five_percent_is_noise() -> None:
  losses = learning(noise=0.02)
  losses[300] = 0.75 + 6 * 0.02
  assert watch(losses)[1][-1] == "ok"
  losses = learning(noise=1e-5)
  losses[300] = 0.75 * 1.045
  assert watch(losses)[1][-1] == "ok"
  losses[300] = 0.75 * 1.055
  assert watch(losses)[1][-1] == "micro_diverged"


def test_a_run_can_diverge_after_it_has_micro_diverged() -> None:
  losses = learning()
  losses[200] = 1.5
  losses[300:] = 2.0
  monitor, verdicts = watch(losses)
  assert verdicts[250] == "micro_diverged"
  assert (verdicts[-1], monitor.micro_divergences) == ("diverged", [201])


def test_a_new_level_is_learnt_and_no_spike() -> None:
  losses = learning(1200)
  losses[300:] += 0.15  # higher, still below the reference
  monitor, verdicts = watch(losses)
  assert set(verdicts) == {"ok"}
  assert monitor.jumped_at is None
  losses[900] += 0.1  # a spike above the new level
  assert watch(losses)[0].micro_divergences == [901]


def at_the_end(
  losses: Array, again: Sequence[float], of_task: bool = False, rarer: float = math.inf
) -> Judge:
  """A judge of a whole run whose last batches lose `again` after its last step."""
  judge = Judge(of_task=of_task)
  for step, loss in enumerate(losses, start=1):
    judge.update(step, Measured(float(loss), 1.0, 1.0, 1.0, rarer))
  judge.finish([Measured(loss, 1.0, 1.0, 1.0, rarer) for loss in again])
  return judge


@pytest.mark.parametrize("of_task", [False, True])
def test_a_blow_up_in_the_last_steps_is_told_by_the_weights_that_they_leave(of_task: bool) -> None:
  losses = learning()
  losses[-3:] = [3.4, 60.0, 900.0]
  assert watch(losses, of_task=of_task)[0].diverged_at_step is None  # the median is of 15 batches
  judge = at_the_end(losses, [1e4] * 15, of_task)
  assert (judge.status, judge.diverged_at_step) == ("diverged", STEPS - 2)
  assert judge.reason == (
    f"its loss, which had been {judge.level:.3g} of the best constant's, was 1e+04 of it at the end"
  )
  assert at_the_end(losses, [0.8] * 15, of_task).diverged_at_step is None  # they came back


def test_what_only_the_last_step_did_is_its_divergence() -> None:
  judge = at_the_end(learning(), [5.0] * 15)
  assert (judge.status, judge.diverged_at_step) == ("diverged", STEPS)
  assert at_the_end(learning(), [math.inf] * 15).reason == "its loss is not finite"
  assert at_the_end(learning(), [5.0] * 7 + [0.8] * 8).status == "ok"  # outliers, by the median
  assert at_the_end(learning(), [math.nan] * 7 + [0.8] * 8).status == "ok"  # skipped in training
  assert at_the_end(learning(), [math.nan] * 8 + [0.8] * 7).status == "diverged"


def test_batches_that_were_learnt_from_clear_no_loss_of_its_blame() -> None:
  losses = learning()
  losses[-30:] = 1.0
  assert watch(losses)[1][-1] == "diverged"
  assert at_the_end(losses, [0.7] * 15).status == "diverged"


def test_a_run_that_came_back_and_blows_up_at_its_end_has_not_recovered() -> None:
  losses = learning(900)
  losses[300:500] = 2.0
  assert at_the_end(losses, [0.8] * 15).recovered_at_step is not None
  judge = at_the_end(losses, [50.0] * 15)
  assert (judge.diverged_at_step, judge.recovered_at_step) == (301, None)


def test_what_has_never_learnt_is_no_more_lost_at_its_end_than_on_the_way() -> None:
  slow = np.full(STEPS, 1.0)
  assert at_the_end(slow, [1.0] * 15).has_learned_nothing
  assert at_the_end(slow, [40.0] * 15).status == "diverged"
  assert at_the_end(slow[:30], [4.0] * 15).status == "ok"  # a rough start


def test_few_labels_are_measured_again_together() -> None:
  assert at_the_end(learning(), [3.0] * 3, of_task=True, rarer=3.0).status == "diverged"
  assert at_the_end(learning(), [3.0] * 2, of_task=True, rarer=3.0).status == "ok"  # six labels


CURVES: dict[str, Array] = {
  "healthy": learning(),
  "spikes": np.where(np.isin(np.arange(STEPS), [180, 181, 260]), 1.3, learning()),
  "new level": learning() + 0.15 * (np.arange(STEPS) > 200),
  "lost and back": np.where(abs(np.arange(STEPS) - 230) < 15, 1.3, learning()),
  "lost for good": np.where(np.arange(STEPS) > 250, 1.3, learning()),
  "lost at the end": np.where(np.arange(STEPS) > 380, 9.0, learning()),
  "never learns": np.full(STEPS, 1.0),
  "blows up at the start": np.where(np.arange(STEPS) < 60, 5.0, learning() + 0.3),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("cut", [1, 40, 182, 230, 270, 395])
def test_a_judge_saved_as_json_goes_on_as_if_never_stopped(name: str, cut: int) -> None:
  straight, verdicts = watch(CURVES[name])
  judge, resumed = Judge(), []
  for step, loss in enumerate(CURVES[name], start=1):
    judge.update(step, Measured(float(loss), 1.0, 1.0))
    resumed.append(str(judge.status))
    if step == cut:
      judge = Judge(judge.rule, **json.loads(json.dumps(judge.state())))
  judge.finish()
  assert [*resumed, judge.status] == verdicts
  assert judge == straight


def test_a_saved_state_does_not_change_with_the_judge() -> None:
  judge = Judge(DivergenceRule(patience=7))
  for step in range(1, 60):
    judge.update(step, Measured(0.8, 1.0, 1.0))
  state = judge.state()
  kept = json.dumps(state)
  for step in range(60, 80):
    judge.update(step, Measured(2.0, 1.0, 1.0))
  assert json.dumps(state) == kept
  assert {*state, "rule"} == {field.name for field in dataclasses.fields(Judge)}


def test_a_batch_without_any_label_is_no_loss() -> None:
  losses, constant = learning(), np.ones(STEPS)
  losses[[100, 200]] = constant[[100, 200]] = 0.0
  assert set(watch(losses, constant)[1]) == {"ok"}


def test_steps_need_not_be_consecutive() -> None:
  judge = Judge()
  steps: Sequence[int] = [step for step in range(1, STEPS + 1) if step % 10]  # some were not whole
  for step in steps:
    judge.update(step, Measured(0.8 if step < 200 else 5.0, 1.0, 1.0))
  assert judge.diverged_at_step == 201
