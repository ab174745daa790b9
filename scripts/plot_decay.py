"""A model trained on day 1 and never again, under three drifts: python -m scripts.plot_decay

Trains Small (proxy) on day 1 of synthetic logs that differ in their daily drift alone, measures its
click AUC on every later day beside that of the frozen oracle, and draws both. The rows are the same
in all logs and no video is new, so all that changes is taste.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import pandas as pd
from absl import app, flags

from ranking import quiet

matplotlib.use("Agg")
import matplotlib.pyplot as plt

with quiet.native_stderr():
  import tensorflow as tf
  import tf_keras

  from ranking import optimizers
  from ranking.data import window
  from ranking.data.prepare import prepare
  from ranking.data.schema import DataError
  from ranking.data.sources.synthetic import Synthetic
  from ranking.data.store import DayStore
  from ranking.evaluation.evaluate import Evaluator
  from ranking.models.bodies.dense import DenseLayers
  from ranking.models.bodies.shared_bottom import SharedBottom
  from ranking.models.model import Model
  from ranking.training.console import Console
  from ranking.training.step import compile_steps

DRIFTS: Final = (0.0, 0.15, 0.4)
LOG: Final = Synthetic(
  days=14, rows_per_day=100_000, num_users=200, num_videos=500, new_videos_share=0.0
)
PASSES, BATCH_SIZE, LEARNING_RATE = 10, 512, 0.1  # so often that it learns the taste of each user
COLOURS, MARKERS = ("#0072B2", "#E69F00", "#D55E00"), ("o", "s", "^")


def main(_argv: Sequence[str]) -> int:
  """Trains, measures, draws and prints a table."""
  tf.get_logger().setLevel("ERROR")  # each day is predicted by a graph of its own: no news
  try:
    source = dataclasses.replace(LOG, days=flags.FLAGS.days, rows_per_day=flags.FLAGS.rows_per_day)
    curves = {}
    for drift in DRIFTS:
      turned = dataclasses.replace(source, daily_drift=drift)
      store = prepare(turned, Path(flags.FLAGS.stores), Console())
      curves[drift] = pd.DataFrame({"model": click_aucs(store), "oracle": frozen_oracle(turned)})
    out = Path(flags.FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(curves, out)
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(f"error: {error.filename}: {error.strerror}; choose another folder", file=sys.stderr)
    return 2
  print(summary(curves).to_string(index=False, float_format="%.4f"))
  print(out)
  return 0


def click_aucs(store: DayStore, seed: int = 0) -> list[float]:
  """Click AUC on each of the days 2..N of a model trained on day 1."""
  tf_keras.utils.set_random_seed(seed)
  tf_keras.backend.reset_uids()
  strategy = tf.distribute.get_strategy()
  model = Model(SharedBottom([DenseLayers([512, 512])]), width_scale=0.125).build(store.schema)
  rule = optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.Clippy(), LEARNING_RATE)
  rule.build(model.trainable_variables)
  take = compile_steps(model, rule, strategy, {})
  for number in range(PASSES):
    batches = window.train_batches(store.train_days[:1], BATCH_SIZE, 24.0, seed + number)
    steps = len(batches) - 1  # the last batch is not full
    take(iter(window.dataset(batches, store.schema, 0, steps)), tf.constant(steps), False)
  aucs = []
  for day in (*store.train_days[1:], store.eval_day):
    evaluator = Evaluator(model, store.schema, day, 4096, strategy)
    aucs.append(evaluator.figures(evaluator.predictions())["click"]["auc"])
  return aucs


def frozen_oracle(source: Synthetic) -> list[float]:
  """Click AUC on each of the days 2..N of the truth with the tastes of day 1."""
  return [day["frozen"]["click"]["auc"] for day in source.oracle_by_day()][1:]


def summary(curves: Mapping[float, pd.DataFrame]) -> pd.DataFrame:
  """Per drift: AUC on day 2 and day N, and what drift took from day N, of model and oracle."""
  still = curves[0.0].iloc[-1]
  rows: list[dict[str, Any]] = []
  for drift, curve in curves.items():
    row: dict[str, Any] = {"drift": drift}
    for who in ("model", "oracle"):
      first, last = curve[who].iloc[0], curve[who].iloc[-1]
      row |= {f"{who} day 2": first, f"{who} day N": last, f"{who} lost": still[who] - last}
    rows.append(row)
  return pd.DataFrame(rows)


def draw(curves: Mapping[float, pd.DataFrame], path: Path) -> None:
  """The model solid, the frozen oracle dashed, a colour per drift."""
  figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
  for (drift, curve), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=True):
    days = range(2, len(curve) + 2)
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4}
    axes.plot(days, curve.model, label=f"model, daily_drift = {drift}", **style)
    axes.plot(days, curve.oracle, label="frozen oracle", linestyle="--", alpha=0.6, **style)
  axes.set(xlabel="day", ylabel="click AUC", title="trained on day 1 alone")
  axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
  figure.savefig(path, dpi=100, metadata={"Software": None})
  plt.close(figure)


if __name__ == "__main__":
  # Here, because another script that a test imports has an --out, too.
  flags.DEFINE_string("out", "docs/dials/frozen_model.png", "The picture.")
  flags.DEFINE_string("stores", "data/store", "Folder of all day stores.")
  flags.DEFINE_integer("days", LOG.days, "Days of the log.")
  flags.DEFINE_integer("rows_per_day", LOG.rows_per_day, "Rows of a day.")
  app.run(main)
