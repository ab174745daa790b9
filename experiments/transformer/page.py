"""experiments/transformer.md and its pictures, from how the cells of the grid ended."""

from typing import Any

import numpy as np
import pandas as pd

from experiments import templating
from experiments.figures import transformer as figures
from experiments.pages import EXPERIMENTS
from experiments.published import RESULTS
from experiments.transformer import grid, made_up
from experiments.transformer.corpus import Corpus
from experiments.transformer.grid import RATES, STEPS, WARM_UPS
from ranking.files import write_atomically
from ranking.sweeps.figures import style

FOLDER = RESULTS / "transformer"
FILE = FOLDER / "made_up.jsonl"
LOST = ("diverged", "learned_nothing")
NEAR = 0.02  # of the error rate: what is hardly worse than the best


def write() -> None:
  """Draws the pictures and writes the page; prints their paths."""
  runs, corpus = measured(), made_up.corpus()
  panels = {
    warm_up: f"{warm_up} warm-up, {round(share * STEPS)} of {STEPS} steps"
    for warm_up, share in WARM_UPS.items()
  }
  pictures = {
    "error_by_rate": figures.error_by_rate(runs, panels, corpus.unavoidable),
    "error_by_step": figures.error_by_step(curves(runs), corpus.unavoidable),
  }
  for name, figure in pictures.items():
    png, svg = style.save(figure, FOLDER / name)
    png.unlink()
    print(svg)
  write_atomically(EXPERIMENTS / "transformer.md", text(runs, corpus))
  print(EXPERIMENTS / "transformer.md")


def measured() -> pd.DataFrame:
  """The runs of the grid that ended, a row each; not those of other rates, seeds or lengths."""
  ends = grid.read(FILE)
  runs = pd.DataFrame([cell._asdict() | end for cell, end in ends.items() if _is_of_grid(cell)])
  return runs.assign(lost=runs.status.isin(LOST))


def text(runs: pd.DataFrame, corpus: Corpus) -> str:
  """The page as Markdown."""
  return templating.render(
    "transformer.md",
    names=figures.NAMES,
    rows=[of_method(runs, method, warm_up) for method in RATES for warm_up in WARM_UPS],
    best={method: best(runs, method) for method in RATES},
    at_three=runs[(runs.method == "clippy_wide") & (runs.rate == 3)].to_dict("records"),
    second=runs[runs.seed == 1].groupby("method").error_rate.min(),
    unavoidable=corpus.unavoidable,
    words=corpus.words,
    runs=len(runs),
    lost=int(runs.lost.sum()),
    seeds=int(runs.seed.nunique()),
    seconds=runs.seconds.median(),
    steps=STEPS,
    warm_ups={name: round(share * STEPS) for name, share in WARM_UPS.items()},
  )


def of_method(runs: pd.DataFrame, method: str, warm_up: str) -> dict[str, Any]:
  """What the table says of a method and a warm-up: the best rate, and which are lost."""
  own = runs[(runs.method == method) & (runs.warm_up == warm_up)]
  by_rate = own.groupby("rate").agg(error=("error_rate", "mean"), lost=("lost", "sum"))
  best_rate = by_rate.error.idxmin()
  near = by_rate.index[by_rate.error <= by_rate.error.min() + NEAR]
  at_best = own.error_rate[own.rate == best_rate]
  seeds = own.groupby("rate").size()
  return {
    "method": method,
    "warm_up": warm_up,
    "rate": best_rate,
    "error": at_best.mean(),
    "spread": at_best.max() - at_best.min(),
    "seeds": len(at_best),
    "near": (near.min(), near.max()),
    "lost": [(rate, int(count), int(seeds[rate])) for rate, count in by_rate.lost.items() if count],
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
