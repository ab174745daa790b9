"""What the clipping factors do when divergence begins, and gradient descent on the quadratic."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.figures import dynamics, moments, quadratic
from experiments.findings.log import SEEDS, Log
from experiments.findings.rule import FIGURES_COMMAND, Found, Rule, decide
from ranking.sweeps import series
from ranking.sweeps.series import SeriesError

MUCH_LOWER = 0.1  # of a clipping factor: an order of magnitude
FIGURE_4B = 0.1  # the threshold on ‖r/w‖∞ that the paper's Figure 4b gives Clippy


def _equation_4_is_lowest(log: Log) -> Found:
  """Whether the factor of equation 4, which is not Algorithm 1, is the lowest."""
  return _clippys_factor_is_lowest(log, lambda seen: (FIGURE_4B / seen.largest_ratio).clip(upper=1))


def _algorithm_1_is_lowest(log: Log) -> Found:
  """Whether the factor of Algorithm 1, which the trainer has, is the lowest."""
  return _clippys_factor_is_lowest(log, lambda seen: seen.clippy)


def _clippys_factor_is_lowest(
  log: Log, factor_of: Callable[[pd.DataFrame], "pd.Series[float]"]
) -> Found:
  ratios, seeds = [], set()
  runs = log.runs("dynamics")
  diverged = runs[runs.status == "diverged"]
  for run, seed in zip(map(Path, diverged.run), diverged.seed, strict=True):
    try:
      marked = moments.find(series.steps(run))
    except SeriesError:
      continue
    seen = series.observations(run, dynamics.MEASUREMENTS)
    layer = dynamics.representative_layers(seen.variable, series.evaluations(run))
    top = seen[seen.variable == layer["top hidden layer"]]
    between = top[top.step.between(marked.a, marked.c)]
    ratio = float(factor_of(between).min() / between[["gc", "agc"]].min().min())
    if math.isfinite(ratio):  # none of its observations is from a to c
      ratios.append(ratio)
      seeds.add(seed)
  lower = sum(ratio <= MUCH_LOWER for ratio in ratios)
  enough = len(seeds) >= SEEDS
  verdict = decide(enough and lower == len(ratios), enough and lower == 0)
  return verdict, {"ratios": sorted(ratios), "seeds": len(seeds), "enough": enough}


F9 = Rule(
  name="F9",
  finding="When divergence begins, Clippy's factor is orders of magnitude below GC's and AGC's: as "
  "the paper's Figure 4b has it, by equation 4",
  rule="The lowest factors from step a to step c of naive runs that learned before they diverged, "
  "top hidden layer; Clippy's is min(1, 0.1/‖r/w‖∞), GC has 0.1 and AGC 0.001. Reproduced if "
  "Clippy's is at most a tenth of both in every run; not reproduced if in none.",
  find=_equation_4_is_lowest,
  written="29 November 2026, before its runs in the late regime; the words of F9b, which was F9 "
  "until then, but for the factor.",
  command=FIGURES_COMMAND,
  caveat="The ratio has no absolute threshold: one weight near 0 makes it large at every step, "
  "calm ones too.",
)

F9B = Rule(
  name="F9b",
  finding="The same of Clippy by Algorithm 1, with the thresholds that the paper trains with",
  rule="The lowest factors from step a to step c of naive runs that learned before they diverged, "
  "top hidden layer. Reproduced if Clippy's is at most a tenth of both in every run; not "
  "reproduced if in none.",
  find=_algorithm_1_is_lowest,
  written="21 November 2026 (f030c61), before its runs; its words were not changed since. After "
  "its first verdict two seeds were asked for in place of two runs (277570b), and a run without an "
  "observation from a to c was left out (635545e), both on 27 November.",
  command=FIGURES_COMMAND,
  caveat="What the clips would have done in runs that none of them steered. Adagrad divides a "
  "gradient by the root of what has accumulated, itself included: however it explodes, no "
  "coordinate of the direction is beyond 1, so Clippy's factor cannot fall below its absolute "
  "threshold ÷ η. GC's and AGC's follow the gradient.",
)


def _lower_layers_are_clipped_more(log: Log) -> Found:
  bottoms: list[float] = []
  tops: list[float] = []
  chosen = log.runs("methods", method="clippy", model="large_dcn", learning_rate_multiplier=2.0)
  for run in map(Path, chosen.run):
    factors = series.clipping_factors(run)
    layers = dynamics.representative_layers(factors.variable, series.evaluations(run))
    for name, means in (("bottom hidden layer", bottoms), ("top hidden layer", tops)):
      of_layer = factors.factor[factors.variable == layers[name]]
      means.append(float(np.exp(np.log(of_layer).mean())))
  lower = [bottom < top for bottom, top in zip(bottoms, tops, strict=True)]
  enough = len(lower) >= SEEDS
  verdict = decide(enough and all(lower), enough and not any(lower))
  return verdict, {"means": list(zip(bottoms, tops, strict=True))}


F10 = Rule(
  name="F10",
  finding="Clippy clips lower layers more",
  rule="Reproduced if with every seed the geometric mean of its factor is lower in the bottom than"
  " in the top hidden layer of Large+DCN at 2x; not reproduced if with none.",
  find=_lower_layers_are_clipped_more,
  written="21 November 2026 (f030c61), before its runs; not changed since.",
  command=FIGURES_COMMAND,
  caveat="Two layers of four; Figure 6 shows the others. On another machine, which rounds "
  "otherwise, one seed of three had it the other way round, by 0.005.",
)


def _the_quadratic_diverges(log: Log) -> Found:
  del log
  ends = {
    name: float(quadratic.loss(positions[-1]) / quadratic.loss(positions[0]))
    for name, positions in quadratic.descents()["gradient descent"].items()
  }
  below, _, above = ends.values()
  verdict = decide(below < 1 < above, True)
  return verdict, {"ends": ends, "steps": quadratic.STEPS, "limit": quadratic.LIMIT}


F12 = Rule(
  name="F12",
  finding="The quadratic diverges beyond 2/λ_max",
  rule="Reproduced if the loss shrinks at 0.9 of it and grows at 1.1.",
  find=_the_quadratic_diverges,
  written="21 November 2026 (f030c61), of what can be computed beforehand; not changed since.",
  command=FIGURES_COMMAND,
  caveat="Computed; it is a theorem.",
)
