"""Says how often the verdict is right, on simulated and recorded curves: experiments/verdicts.md.

Thresholds are chosen on one half of the simulated curves and judged on the other.
"""

import argparse
import statistics
from collections import Counter

from experiments import templating
from experiments.pages import EXPERIMENTS
from experiments.verdicts import recorded
from experiments.verdicts.judging import Judged, divergences, judge, micro_divergences
from experiments.verdicts.library import KINDS, curves
from ranking.files import write_atomically
from ranking.stability.divergence import DivergenceRule

OTHER_HALF = 500  # number of its first curve of each kind
TRIED: list[dict[str, float]] = [
  {},
  {"sure": 1.5},
  {"sure": 4.0},
  {"least_labels": 4},
  {"least_labels": 16},
  {"jump": 6.0},
  {"jump": 10.0},
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments verdicts`."""
  parser.add_argument("--count", type=int, default=15, help="curves of each kind that are judged")
  parser.add_argument("--chosen-on", type=int, default=8, help="curves of each kind to choose by")


def run(given: argparse.Namespace) -> int:
  """Writes the page."""
  first_half = list(curves(given.chosen_on))
  choices = []
  for changed in TRIED:
    rule = DivergenceRule(**changed)  # type: ignore[arg-type]  # least_labels is whole
    judged = [judge(curve, rule) for curve in first_half]
    choices.append((changed, *_scores(judged)))
  rule = DivergenceRule()
  simulated = [judge(curve, rule) for curve in curves(given.count, OTHER_HALF)]
  of_runs = [judge(curve, rule) for curve in recorded.load()]
  page = templating.render(
    "verdicts.md",
    rule=rule,
    chosen_on=len(first_half),
    choices=choices,
    simulated=(len(simulated), *_scores(simulated)),
    delay=statistics.median(
      one.said_at - one.curve.step for one in simulated if one.said_at and one.curve.step
    ),
    kinds=[
      (kind, Counter(one.said for one in simulated if one.curve.name == kind), kind in _LOST)
      for kind in KINDS
    ],
    recorded=(sum(one.curve.is_known for one in of_runs), *_scores(of_runs)),
    unknown=Counter(one.said for one in of_runs if not one.curve.is_known),
    wrong=[one for one in [*simulated, *of_runs] if one.said not in one.curve.statuses],
    lost=sum(one.curve.statuses == recorded.LOST for one in of_runs),
    methods=len({one.curve.name.split("-")[1] for one in of_runs}),
    logs=sorted({one.curve.name.partition(":")[0] for one in of_runs}),
  )
  write_atomically(EXPERIMENTS / "verdicts.md", page)
  print(EXPERIMENTS / "verdicts.md")
  return 0


_LOST = KINDS[KINDS.index("blow-up") :]


def _scores(judged: list[Judged]) -> tuple[object, ...]:
  """Of divergence, of micro-divergence, and the share of divergences whose step is near."""
  found = [one for one in judged if one.said == "diverged" and one.curve.step is not None]
  near = sum(one.is_near for one in found) / max(len(found), 1)
  return divergences(judged), micro_divergences(judged), near
