"""experiments/transformer.md and its pictures, from how the cells of the grid ended."""

from typing import Any

import numpy as np
import pandas as pd

from experiments import templating
from experiments.figures import transformer as figures
from experiments.pages import EXPERIMENTS
from experiments.published import RESULTS
from experiments.transformer import grid, made_up
from experiments.transformer.grid import RATES, STEPS, WARM_UPS
from ranking.files import write_atomically
from ranking.sweeps.figures import style

FOLDER = RESULTS / "transformer"
FILE = FOLDER / "made_up.jsonl"
LOST = ("diverged", "learned_nothing")
NEAR = 0.02  # of the error rate: what is hardly worse than the best


def write() -> None:
  """Draws the pictures and writes the page; prints their paths."""
  runs, unavoidable = measured(), made_up.corpus().unavoidable
  assert unavoidable is not None
  panels = {
    warm_up: f"{warm_up} warm-up, {round(share * STEPS)} of {STEPS} steps"
    for warm_up, share in WARM_UPS.items()
  }
  pictures = {
    "error_by_rate": figures.error_by_rate(runs, panels, unavoidable),
    "error_by_step": figures.error_by_step(curves(runs), unavoidable),
  }
  for name, figure in pictures.items():
    png, svg = style.save(figure, FOLDER / name)
    png.unlink()
    print(svg)
  write_atomically(EXPERIMENTS / "transformer.md", text(runs, unavoidable))
  print(EXPERIMENTS / "transformer.md")


def measured() -> pd.DataFrame:
  """The runs of the grid that ended, a row each; not those of other rates, seeds or lengths."""
  ends = grid.read(FILE)
  runs = pd.DataFrame([cell._asdict() | end for cell, end in ends.items() if _is_of_grid(cell)])
  return runs.assign(lost=runs.status.isin(LOST))


def text(runs: pd.DataFrame, unavoidable: float) -> str:
  """The page as Markdown."""
  return templating.render(
    "transformer.md",
    names=figures.NAMES,
    rows=[of_method(runs, method, warm_up) for method in RATES for warm_up in WARM_UPS],
    best={method: best(runs, method) for method in RATES},
    unavoidable=unavoidable,
    runs=len(runs),
    seeds=int(runs.seed.nunique()),
    steps=STEPS,
    warm_ups={name: round(share * STEPS) for name, share in WARM_UPS.items()},
    minutes=runs.seconds.sum() / 60,
  )


def of_method(runs: pd.DataFrame, method: str, warm_up: str) -> dict[str, Any]:
  """What the table says of a method and a warm-up: the best rate, and which are lost."""
  own = runs[(runs.method == method) & (runs.warm_up == warm_up)]
  by_rate = own.groupby("rate").agg(error=("error_rate", "mean"), lost=("lost", "any"))
  lowest = by_rate.error.min()
  near = by_rate.index[by_rate.error <= lowest + NEAR]
  at_best = own.error_rate[own.rate == by_rate.error.idxmin()]
  return {
    "method": method,
    "warm_up": warm_up,
    "error": lowest,
    "spread": float(np.ptp(at_best)),
    "rate": by_rate.error.idxmin(),
    "near": (near.min(), near.max()),
    "highest_kept": by_rate.index[~by_rate.lost].max(),
    "lost": own[own.lost].groupby("rate").size().to_dict(),
    "seeds": own.groupby("rate").size().to_dict(),
  }


def best(runs: pd.DataFrame, method: str) -> dict[str, Any]:
  """The better warm-up of a method, as `of_method` has it."""
  return min(
    (of_method(runs, method, warm_up) for warm_up in WARM_UPS), key=lambda row: row["error"]
  )


def curves(runs: pd.DataFrame) -> dict[str, pd.Series]:
  """Error rates by step of each method at its best, the mean over seeds."""
  found = {}
  for method in RATES:
    setting = best(runs, method)
    own = runs[(runs.method == method) & (runs.warm_up == setting["warm_up"])]
    errors = np.mean(own.errors[own.rate == setting["rate"]].tolist(), axis=0)
    middles = (np.arange(len(errors)) + 0.5) * STEPS / len(errors)
    found[method] = pd.Series(errors, index=middles)
  return found


def _is_of_grid(cell: grid.Cell) -> bool:
  return cell.rate in RATES[cell.method] and cell.seed in grid.SEEDS and cell.steps == STEPS
