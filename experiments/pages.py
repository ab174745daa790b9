"""Writes the pages about what is published: comparison.md, models.md and results/README.md.

Their templates hold the words, and take figures from experiments/results/. The commands publish and
findings write them anew at their end.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments import templating
from experiments.findings.log import MODELS
from experiments.findings.rules import RULES
from experiments.published import RESULTS, Published
from ranking.files import write_atomically
from ranking.measures.differences import Difference, paired_difference
from ranking.measures.significance import holm

EXPERIMENTS = Path("experiments")
DOCUMENTS = {  # of an experiment, in the order of the list → what a link to one says
  "table2.md": "table",
  "table3.md": "table",
  "comparison.md": "in pairs",
  "summary.md": "summary",
  "survival_map.svg": "map",
  "map.svg": "map",
}
HELD = {  # methods that hold after a warm-up, each with what else tells its runs
  "gc": {"thresholds": "threshold=0.01"},
  "agc": {"thresholds": "threshold=0.001"},
  "clippy_tighter": {},
  "layer_clippy": {},
}
Setting = Sequence[tuple[str, Mapping[str, Any]]]  # experiments, with what tells its runs there


def write() -> None:
  """Writes the pages and prints where they are. Raises InputError if a figure is not there."""
  pages = {
    "comparison.md": comparison(),
    "models.md": of_models(),
    "results/README.md": list_of_results(),
  }
  for path, text in pages.items():
    write_atomically(EXPERIMENTS / path, text)
    print(EXPERIMENTS / path)


def comparison() -> str:
  """The page that says which method is best, as Markdown."""
  published = Published()
  judged = json.loads((EXPERIMENTS / "findings.json").read_text())
  return templating.render(
    "comparison.md",
    rows=published.rows,
    row=published.row,
    by=published.by,
    trials=published.trials,
    ahead=_adam_ahead(published),
    over_layer=_over_layer(published),
    over_naive={
      **_over_naive(
        published,
        "click",
        naive=[
          [("low_rates_synthetic_late", {"learning_rate": 0.05})],
          [("low_rates_synthetic_late", {"learning_rate": 0.1})],
          [("calibration_synthetic_late", {"learning_rate": 0.2})],
        ],
        treated=[
          ("survival_synthetic_late", 0.8),
          ("base_rate_synthetic_late", 0.6),
          ("base_rate_synthetic_late", 1.2),
        ],
      ),
      **_over_naive(
        published,
        "is_click",
        naive=[
          [("low_rates_kuairand_late", {"learning_rate": 0.05})],
          [("low_rates_kuairand_late", {"learning_rate": 0.1})],
          [
            ("calibration_kuairand_late", {"learning_rate": 0.2, "ablation": "warmup_400"}),
            ("warmups_kuairand_late", {"learning_rate": 0.2}),
          ],
          [("ramp_kuairand_late", {"learning_rate": 0.3})],
        ],
        treated=[("base_rate_kuairand_late", 0.6), ("base_rate_kuairand_late", 1.2)],
      ),
    },
    models=MODELS,
    verdicts=_verdicts(judged["kuairand"]),
    late_verdicts=_verdicts(judged.get("kuairand_late", {})),
  )


def _verdicts(judged: Mapping[str, Mapping[str, str]]) -> Counter[str]:
  """How many findings have each; one that was never judged is undecided."""
  found = Counter(judgement["verdict"] for judgement in judged.values())
  found["undecided"] += len(RULES) - found.total()
  return found


def _over_layer(published: Published) -> dict[str, tuple[Difference, float]]:
  """Methods minus LayerClippy over the days, each with its p after Holm's correction."""
  runs = pd.DataFrame(published.rows("days_kuairand", "runs", task="is_click"))
  by_day = runs.pivot_table(index="eval_day", columns="method", values="value")
  reference = by_day.pop("layer_clippy")
  found = [paired_difference(by_day[method], reference) for method in by_day]
  adjusted = holm([difference.p for difference in found])
  return dict(zip(by_day, zip(found, adjusted, strict=True), strict=True))


def _over_naive(
  published: Published,
  task: str,
  naive: Sequence[Setting],
  treated: Sequence[tuple[str, float]],
) -> dict[tuple[str, float], dict[str, tuple[float, float]]]:
  """AUC of methods that hold after a warm-up minus naive's best, and p by Welch's test.

  Naive's spread over its five seeds is several times theirs over three. p is Holm's, of the methods
  of one experiment and rate.

  Args:
    published: all tables.
    task: whose AUC it is.
    naive: settings that no run of naive is lost at.
    treated: experiments and rates.
  """

  def values(experiment: str, **columns: Any) -> list[float]:
    return [run["value"] for run in published.rows(experiment, "runs", task=task, **columns)]

  best = max(
    (
      [value for runs, columns in setting for value in values(runs, **columns)] for setting in naive
    ),
    key=np.mean,
  )
  found = {}
  for experiment, rate in treated:
    others = {
      method: values(experiment, method=method, learning_rate=rate, **columns)
      for method, columns in HELD.items()
    }
    p = holm([stats.ttest_ind(own, best, equal_var=False).pvalue for own in others.values()])
    ahead = [float(np.mean(own) - np.mean(best)) for own in others.values()]
    found[experiment, rate] = dict(zip(others, zip(ahead, p, strict=True), strict=True))
  return found


def _adam_ahead(published: Published) -> tuple[list[float], Difference]:
  """Naive Adam at 0.001 minus the best column of Table 2 on Large+DCN: by seed, and as a whole."""
  table2 = {"experiment": "table2_kuairand", "task": "is_click", "model": "large_dcn"}
  best = published.row(**table2, table="table2", best=True)
  setting = {name: best[name] for name in ("method", "learning_rate_multiplier", "thresholds")}
  runs = [
    published.by(
      "seed", "adam_kuairand", "runs", method="naive", learning_rate=0.001, task="is_click"
    ),
    published.by("seed", **table2, table="runs", **setting),
  ]
  seeds = sorted(set(runs[0]) & set(runs[1]) - {0})  # the setting was chosen by seed 0
  adam, others = (np.array([of[seed]["value"] for seed in seeds]) for of in runs)
  return sorted(adam - others), paired_difference(adam, others)


def of_models() -> str:
  """The page that says which models are fragile, and whether experts help, as Markdown."""
  published = Published()
  return templating.render(
    "models.md",
    rows=published.rows,
    row=published.row,
    by=published.by,
    trials=published.trials,
  )


def list_of_results() -> str:
  """The list of all experiments with what they found and links to it, as Markdown."""
  published = Published()
  return templating.render(
    "results.md",
    rows=published.rows,
    row=published.row,
    documents={folder.name: _links(folder) for folder in sorted(RESULTS.glob("*/"))},
  )


def _links(folder: Path) -> dict[str, str]:
  """File name → what a link to it says, of the documents in a folder."""
  return {name: says for name, says in DOCUMENTS.items() if (folder / name).is_file()}
