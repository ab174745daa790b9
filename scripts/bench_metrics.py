"""Times the exact metrics of one task: `python scripts/bench_metrics.py [--rows N]`.

All contestants run in turn, round after round, and each is given its best round. The ratios are the
result; the absolute times are orientation, as they depend on the machine.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from ranking.measures.concordance import auc
from ranking.tasks import KINDS, LabelStatistics


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--rows", type=int, default=1_000_000)
  parser.add_argument("--rounds", type=int, default=5)
  options = parser.parse_args()

  random = np.random.default_rng(0)
  labels = (random.random(options.rows) < 0.02).astype(np.float32)
  logits = (random.normal(size=options.rows) + labels - 4).astype(np.float32)
  tied = np.round(logits, 1)
  watched = random.normal(size=options.rows).astype(np.float32)

  binary, regression, known = KINDS["binary"], KINDS["regression"], LabelStatistics(0, 0.0, 0.0)
  contestants: dict[str, Callable[[], object]] = {
    "binary": lambda: binary.evaluate(labels, logits, known),
    "binary, tied": lambda: binary.evaluate(labels, tied, known),
    "regression": lambda: regression.evaluate(watched, logits, known),
    "AUC and interval": lambda: auc(labels, logits),
    "AUC and interval, tied": lambda: auc(labels, tied),
    "scikit-learn AUC": lambda: roc_auc_score(labels, logits),
    "scikit-learn AUC, tied": lambda: roc_auc_score(labels, tied),
  }
  seconds = dict.fromkeys(contestants, float("inf"))
  for _ in range(options.rounds):
    for name, run in contestants.items():
      start = time.perf_counter()
      run()
      seconds[name] = min(seconds[name], time.perf_counter() - start)

  print(f"{options.rows} rows, 2 % positive, {len(np.unique(tied))} distinct tied logits, float32")
  print(f"{'seconds a task (orientation)':<30}{'best of ' + str(options.rounds):>10}")
  for name, best in seconds.items():
    print(f"{name:<30}{best:10.4f}")
  for kind in ("", ", tied"):
    ratio = seconds[f"scikit-learn AUC{kind}"] / seconds[f"AUC and interval{kind}"]
    print(f"scikit-learn AUC takes {ratio:.1f} times our AUC and interval{kind}")


if __name__ == "__main__":
  main()
