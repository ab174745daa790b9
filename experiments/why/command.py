"""Replays runs that are lost late and takes them apart: experiments/results/why/ and why.md.

A run that has a folder there is not measured again.
"""

import argparse

import pandas as pd

from experiments.why import anatomy, page, remedies
from experiments.why.anatomy import Row, Sharpness, Step
from experiments.why.cases import CASES, Case
from experiments.why.descent import State
from experiments.why.landscape import Batch, Landscape, batch_of
from experiments.why.page import FOLDER
from experiments.why.replay import Replay, replay
from ranking.errors import InputError
from ranking.training.console import Console
from ranking.training.run import Run, begin, build, open_log

BEFORE, AFTER = 15, 4  # steps before a and after c that are taken apart,
AT_MOST = 30  # so many from a on
RESCUED_BEFORE = 5  # steps before a, at least, where a remedy begins
Tables = dict[str, list[Row]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments why`."""
  parser.add_argument("--raw", help="folder of the unpacked KuaiRand-Pure; downloaded if not given")
  parser.add_argument("--store", default="data/store", help="folder of the day stores")
  parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], metavar="CASE")


def run(given: argparse.Namespace) -> int:
  """Measures the cases that are not there yet. Raises InputError where a run is not lost."""
  for case in CASES:
    if (given.cases is None or case.name in given.cases) and not (FOLDER / case.name).is_dir():
      tables = measured(case, given.raw, given.store, Console())
      partial = FOLDER / f".{case.name}.partial"
      partial.mkdir(parents=True, exist_ok=True)
      for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(partial / f"{name}.csv", index=False, float_format="%.5g")
      partial.rename(FOLDER / case.name)
      print(FOLDER / case.name)
  page.write()
  return 0


def measured(case: Case, raw: str | None, store: str, console: Console) -> Tables:
  """All tables of a case: trend, steps, layers, tasks, rows and remedies."""
  settings = case.settings("naive", raw, store)
  made = build(settings, open_log(settings, console), console, begin(settings))
  landscape = Landscape(made.network)
  found = replay(made, landscape, len(made.batches))
  if found.moments is None:
    raise InputError(f"{case.name} is not lost on this machine; leave it out of CASES")
  a, b, c = found.moments
  console.say(f"{case.name}: healthy to step {a}, rising from {b}, lost from {c}")
  at = _Inputs(made, case)
  tables: Tables = {"moments": [{"a": a, "b": b, "c": c}]}
  tables["trend"] = _trend(landscape, found, at)
  console.say("trend measured")
  tables |= _around(landscape, found, at)
  console.say("steps measured")
  start = _last_before(found, a - RESCUED_BEFORE)
  kinds = [task.kind for task in made.store.schema.tasks]
  tables["remedies"] = []
  for name, remedy in remedies.remedies(landscape, kinds).items():
    ended = remedies.outcome(landscape, start, at.rate, at.batch, remedy)
    tables["remedies"].append({"remedy": name, "from_step": start.step, **ended})
    console.say(f"{name}: {ended}")
  return tables


class _Inputs:
  """What a step of a run is given: its rate and its batch, by number."""

  def __init__(self, made: Run, case: Case):
    self._made, self._case = made, case

  def rate(self, step: int) -> float:
    """η."""
    return self._case.rate * min(1.0, step / self._case.warmup_steps)

  def batch(self, step: int) -> Batch:
    """Its rows; those of the last whole batch beyond the end."""
    return batch_of(self._made.batches, min(step, len(self._made.batches) - 1))

  def reference(self, step: int) -> Batch:
    """The rows of this step and those to come, REFERENCE_ROWS of them."""
    count = max(1, anatomy.REFERENCE_ROWS // self._case.batch_size)
    return anatomy.joined([self.batch(step + k) for k in range(count)])


def _trend(landscape: Landscape, found: Replay, at: _Inputs) -> list[Row]:
  """A row for each state that was kept, from the first step to the loss of the run."""
  rows, sharpness = [], Sharpness(landscape)
  for state in found.states:
    number = state.step + 1
    if found.moments is not None and number > found.moments.c:
      break
    step = Step.of(landscape, state, at.rate(number), at.batch(number))
    highest = sharpness("reference", state, step.rate, at.reference(number))
    shares = {f"in_{layer}": share for layer, share in sharpness.shares("reference").items()}
    rows.append({**anatomy.of_state(landscape, step), "sharpness": highest, **shares})
  return rows


def _last_before(found: Replay, step: int) -> State:
  """The last state that was kept from which this step is still to be taken."""
  return [state for state in found.states if state.step < max(1, step)][-1]


def _around(landscape: Landscape, found: Replay, at: _Inputs) -> Tables:
  """Each step around the loss, with the formulas of `descent` from the last state kept before."""
  assert found.moments is not None
  a, _, c = found.moments
  tables: Tables = {"steps": [], "layers": [], "tasks": [], "rows": []}
  sharpness = Sharpness(landscape)
  state = _last_before(found, a - BEFORE)
  while state.step < min(c + AFTER, a + AT_MOST):
    number = state.step + 1
    step = Step.of(landscape, state, at.rate(number), at.batch(number))
    recorded = found.steps.loss[found.steps.step == number]
    tables["steps"].append(
      {
        **anatomy.of_state(landscape, step),
        **anatomy.of_step(landscape, step, at.batch(number + 1)),
        "sharpness": sharpness("reference", state, step.rate, at.reference(number)),
        "loss": step.seen.loss,
        "recorded_loss": float(recorded.iloc[0]) if len(recorded) else None,
      }
    )
    tables["layers"] += anatomy.of_layers(landscape, step)
    tables["tasks"] += anatomy.of_tasks(landscape, step)
    tables["rows"] += anatomy.of_rows(landscape, step)
    state = step.taken()
  return tables
