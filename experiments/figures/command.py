"""Draws the paper's figures.

Runs experiments/dynamics_<data>.gin and experiments/methods_<data>.gin as
`ranking sweep` does, finished runs skipped, and draws from their series, as PNG and SVG:

figure_1            a run that micro-diverged and one that diverged     dynamics
figure_3            optimizers on a quadratic                           computed
figure_4a, 4b, 8    the steps a, b, c of the run that diverged          dynamics
figure_5a           methods over time on Large+DCN                      methods
figure_5b           Clippy against GC on the three models               methods
figure_6            Clippy's factor by layer                            methods
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.figures import comparison, dynamics, moments, quadratic, stability
from experiments.figures.moments import Moments
from experiments.findings.log import MODELS
from ranking.commands import sweep
from ranking.stability.divergence import DivergenceRule
from ranking.sweeps import files, results, series
from ranking.sweeps.figures import style
from ranking.sweeps.series import SeriesError
from ranking.sweeps.sweep import Sweep

LARGEST = "large_dcn"
LAYERS_OF = {
  "figure_4b": ("top hidden layer",),
  "figure_8": ("bottom hidden layer", "binary task", "regression task"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments figures`."""
  parser.add_argument("--data", default="synthetic", help="of experiments/…_<data>.gin")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; as many as cores if not given")
  parser.add_argument(
    "--out", type=Path, help="folder; experiments/results/figures/<data> if not given"
  )


def run(given: argparse.Namespace) -> int:
  """Runs what is not finished, and draws; returns what the command of a sweep does."""
  described = [Path("experiments", f"{kind}_{given.data}.gin") for kind in ("dynamics", "methods")]
  for file in described:
    if code := sweep.make(files.read(str(file), Sweep), given.raw, given.jobs):
      return code
  out = given.out or Path("experiments", "results", "figures", given.data)
  of_dynamics, of_methods = map(read_runs, described)
  figures = {
    **dict(figures_of_dynamics(of_dynamics)),
    "figure_3": stability.on_the_quadratic(quadratic.descents()),
    **dict(figures_of_methods(of_methods)),
  }
  for name, figure in figures.items():
    print(*style.save(figure, out / name))
  return 0


def read_runs(file: Path) -> pd.DataFrame:
  """The runs of a sweep that is described in a file, a row each; none of an earlier grid."""
  described = files.read(str(file), Sweep)
  runs = results.read([Path("runs", described.name)]).drop_duplicates("trial")
  return runs[runs.trial.isin([trial.name for trial in described.trials()])]


def figures_of_dynamics(runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
  """Figures 1, 4a, 4b and 8, by name. Raises SeriesError.

  Args:
    runs: a row per run, with the columns of results.py.
  """
  lost, marked = latest_to_diverge(runs)
  curves = {"diverged": _curve(lost)}
  if (recovered := highest_to_recover(runs)) is not None:
    curves = {"micro-diverged": _curve(recovered), **curves}
  else:
    print("no run micro-diverged: figure_1 has the diverged one alone")
  yield "figure_1", dynamics.loss_and_auc(curves)
  observed = series.observations(lost, dynamics.MEASUREMENTS)
  layers = dynamics.representative_layers(observed.variable, series.evaluations(lost))
  around = max(20, 2 * (marked.c - marked.a))
  shown = (max(1, marked.a - around), marked.c + around)
  yield "figure_4a", dynamics.loss_and_auc({"diverged": curves["diverged"]}, marked, shown)
  for name, chosen in LAYERS_OF.items():
    of_figure = {layer: layers[layer] for layer in chosen}
    yield name, dynamics.measurements(observed, of_figure, marked, shown)


def latest_to_diverge(runs: pd.DataFrame) -> tuple[Path, Moments]:
  """The run that learned for longest before it diverged, and its steps a, b and c.

  One that was lost for `DivergenceRule.patience` steps comes before those that the log's end
  cut short, which show no more than that they may be lost.
  """
  found, seen_out, why = {}, {}, "none diverged"
  for run in map(Path, runs.run[runs.status == "diverged"]):
    try:
      steps = series.steps(run)
      found[run] = moments.find(steps)
      seen_out[run] = found[run].c + DivergenceRule.patience <= steps.step.max()
    except SeriesError as error:
      why = f"{run}: {error}"
  if not found:
    raise SeriesError(f"no run for Figures 1, 4 and 8 in sweep {runs.sweep.iloc[0]}: {why}")
  chosen = max(found, key=lambda run: (seen_out[run], found[run].c))
  return chosen, found[chosen]


def highest_to_recover(runs: pd.DataFrame) -> Path | None:
  """The micro-diverged run whose loss jumped highest, if there is one."""
  recovered = [Path(run) for run in runs.run[runs.status == "micro_diverged"]]
  return max(recovered, key=_highest_jump, default=None)


def figures_of_methods(runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
  """Figures 5a, 5b and 6, by name. Raises SeriesError.

  Args:
    runs: a row per run, with the columns of results.py.
  """
  aucs = {run: series.headline(Path(run)) for run in runs.run}

  def by_method(chosen: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    return {
      method: [aucs[run] for run in chosen.run[chosen.method == method]]
      for method in style.NAMES
      if method in set(chosen.method)
    }

  largest, highest = runs[runs.model == LARGEST], runs.learning_rate_multiplier.max()
  fastest = runs[runs.learning_rate_multiplier == highest]
  yield (
    "figure_5a",
    comparison.auc_over_time(
      {
        f"{style.MODELS[LARGEST]}, learning rate {times:g}x": by_method(of_rate)
        for times, of_rate in largest.groupby("learning_rate_multiplier")
      }
    ),
  )
  yield (
    "figure_5b",
    comparison.auc_over_time(
      {
        f"{style.MODELS[model]}, learning rate {highest:g}x": by_method(
          fastest[(fastest.model == model) & fastest.method.isin(["gc", "clippy"])]
        )
        for model in MODELS
      }
    ),
  )
  clippy = Path(fastest.run[(fastest.model == LARGEST) & (fastest.method == "clippy")].iloc[0])
  factors = series.clipping_factors(clippy)
  layers = dynamics.representative_layers(factors.variable, series.evaluations(clippy))
  yield "figure_6", dynamics.factors_by_layer(factors, layers)


def _curve(run: Path) -> dynamics.Curve:
  return dynamics.Curve(series.steps(run), series.headline(run))


def _highest_jump(run: Path) -> float:
  """The highest relative loss once a jump can be told from learning."""
  return float(series.steps(run).relative_loss[DivergenceRule.history :].max())
