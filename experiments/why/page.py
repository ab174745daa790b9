"""experiments/why.md and its pictures, from what was measured of each case."""

from typing import Any

import pandas as pd

from experiments import templating
from experiments.figures import why
from experiments.pages import EXPERIMENTS
from experiments.published import RESULTS, read
from experiments.why.cases import CASES, Case
from ranking.files import write_atomically
from ranking.sweeps.figures import style

FOLDER = RESULTS / "why"
TABLES = ("moments", "trend", "steps", "layers", "tasks", "rows", "remedies")
STILL_HEALTHY = 1.1  # a relative loss below which a step can be the one that lost the run
Tables = dict[str, pd.DataFrame]


def write() -> None:
  """Draws the pictures and writes the page of all cases that were measured; prints their paths."""
  cases = measured()
  pictures = {
    "sharpness": why.sharpness(cases),
    "steps": why.steps(cases),
    "layers": why.layers(cases, {name: lost_by(tables) for name, tables in cases.items()}),
    "remedies": why.remedies(cases),
  }
  for name, figure in pictures.items():
    png, svg = style.save(figure, FOLDER / name)
    png.unlink()
    print(svg)
  write_atomically(EXPERIMENTS / "why.md", text(cases))
  print(EXPERIMENTS / "why.md")


def measured() -> dict[str, Tables]:
  """The tables of each case that has a folder. Raises InputError if one cannot be read."""
  return {
    short(case): {name: read(FOLDER / case.name / f"{name}.csv") for name in TABLES}
    for case in CASES
    if (FOLDER / case.name).is_dir()
  }


def text(cases: dict[str, Tables]) -> str:
  """The page as Markdown."""
  found = {name: facts(tables) for name, tables in cases.items()}
  return templating.render("why.md", cases=found, remedies=outcomes(cases))


def short(case: Case) -> str:
  """A name for pictures, such as "kuairand 0.3, seed 1"."""
  return f"{case.data} {case.rate:g}/{case.warmup_steps}, seed {case.seed}"


def lost_by(tables: Tables) -> int:
  """The step from a to c that raises the loss of the next batch most, before it has blown up."""
  steps, moments = tables["steps"], tables["moments"].iloc[0]
  near = steps[steps.step.between(moments.a, moments.c) & (steps.relative_loss < STILL_HEALTHY)]
  return int(near.step[near.next_change.idxmax()])


def facts(tables: Tables) -> dict[str, Any]:
  """What the page says of a case, most of it at the step that the run was lost by."""
  steps, layers, trend = (tables[name] for name in ("steps", "layers", "trend"))
  at = steps[steps.step == lost_by(tables)].iloc[0]
  before = steps[steps.step < at.step]
  here = layers[layers.step == at.step].set_index("layer")
  tasks = tables["tasks"].pivot(index="step", columns="task", values="relative_loss")
  gradients = tables["tasks"].pivot(index="step", columns="task", values="gradient_norm")
  learning = trend[trend.step > 10]  # not the overshoot of the first steps
  return {
    **{name: int(tables["moments"][name].iloc[0]) for name in ("a", "b", "c")},
    "step": int(at.step),
    "at": at,
    "best": learning.relative_loss.min(),
    "task": at.get("rising_task") or (tasks.loc[at.step + 1] / tasks.loc[at.step]).idxmax(),
    "task_share": gradients.loc[at.step].max() / gradients.loc[at.step].sum(),
    "gradient_task": gradients.loc[at.step].idxmax(),
    "alone_most": here.alone.max(),
    "alone_layer": here.alone.idxmax(),
    "raising": list(here.index[here.alone > 0]),
    "needed": here.others.idxmin(),
    "needed_change": here.others.min(),
    "hidden_top_percent": here.top_percent[[n for n in here.index if "hidden" in n]].median(),
    "sharp": int((learning.sharpness > why.LIMIT).sum()),
    "states": len(learning),
    "passed": int((before.along > why.LIMIT).sum()),
    "steepest_before": before.along.max(),
    "steps_before": len(before),
    "clipped": float((before.clippy_factor < 1).mean()),
    "factor_before": before.clippy_factor.median(),
    "replayed": float((steps.loss / steps.recorded_loss - 1).abs()[steps.step < at.step].max()),
    "top_percent_before": before.top_percent.median(),
  }


def outcomes(cases: dict[str, Tables]) -> list[dict[str, Any]]:
  """How the cases end with each remedy, in their order."""
  every = pd.concat([tables["remedies"] for tables in cases.values()])
  return [
    {"name": name, "outcomes": list(map(why.outcome, of.highest, of.end, of.lost))}
    for name, of in every.groupby("remedy", sort=False)
  ]
