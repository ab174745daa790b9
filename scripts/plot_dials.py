"""Draws what each dial of the synthetic log does: python -m scripts.plot_dials --out=docs/dials

One picture per dial, of three settings each. docs/synthetic.md explains them.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from absl import app, flags

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ranking.array import Array
from ranking.data.schema import DataError
from ranking.data.sources.synthetic import Synthetic
from ranking.measures.concordance import auc
from tests.frames import FrameLog
from tests.whole_log import read_whole

COLOURS: Final = ("#0072B2", "#E69F00", "#D55E00")  # colour-blind safe, and told apart by markers
MARKERS: Final = ("o", "s", "^")
FIT_ROWS: Final = 500  # so few that features that tell nothing do harm

Draw = Callable[[Any, Synthetic, Mapping[str, Any]], None]


def oracle_auc(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """The AUC of the true click probabilities, per day."""
  axes.plot(_days(source), _click_auc(source, "oracle"), **style)
  axes.set(title="oracle", xlabel="day", ylabel="click AUC")


def frozen_auc(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """The click AUC per day of the oracle that knows the tastes of day 1 only."""
  axes.plot(_days(source), _click_auc(source, "frozen"), **style)
  axes.set(title="frozen oracle: the tastes of day 1", xlabel="day", ylabel="click AUC")


def new_to_the_log(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """Share of each day's rows on videos that no earlier day has shown."""
  axes.plot(_days(source)[1:], share_new_to_the_log(read_whole(source))[1:], **style)
  axes.set(title="rows on videos new to the log", xlabel="day", ylabel="share of rows")


def watch_tail(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """How many rows have a log play time above x."""
  watched = np.sort(read_whole(source).labels["log_watch_seconds"].to_numpy())
  # Every row of the tail, but not the hundred thousands that lie under one point of the line.
  rank = np.unique(np.geomspace(1, (watched > 1).sum(), 400).astype(int))
  axes.plot(watched[-rank], rank / len(watched), **{**style, "markevery": 40})
  axes.set(title="tail of play time", xlabel="log_watch_seconds", ylabel="share of rows above it")
  axes.set(xscale="log", yscale="log")


def fit_auc(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """Click AUC per day of a linear fit to the dense features of the first rows."""
  axes.plot(_days(source), fitted_click_auc(read_whole(source)), **style)
  axes.set(title=f"linear fit to {FIT_ROWS} rows of day 1", xlabel="day", ylabel="click AUC")


def tasks_by_rate(axes: Any, source: Synthetic, style: Mapping[str, Any]) -> None:
  """Oracle AUC on the last day against the positive rate, a point per binary task."""
  *_, last = source.oracle_by_day()
  tasks = [task for task in last["oracle"].values() if task.get("positives") and task["auc"]]
  rates = [task["positives"] / task["rows"] for task in tasks]
  order = np.argsort(rates)
  aucs = [task["auc"] for task in tasks]
  hollow = {"linestyle": "none", "fillstyle": "none", "markersize": 4 + 3 * style["zorder"]}
  axes.plot(np.array(rates)[order], np.array(aucs)[order], **{**style, **hollow})
  axes.set(title="binary tasks on the last day", xlabel="positive rate", ylabel="oracle AUC")
  axes.set(xscale="log")


@dataclasses.dataclass(frozen=True)
class Dial:
  """A picture: the dial's three settings, what else is set, and what is drawn of each log."""

  name: str
  settings: Sequence[Any]
  panels: Sequence[Draw]
  beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)


DIALS: Final = (
  Dial("daily_drift", (0.0, 0.15, 0.4), (frozen_auc, oracle_auc)),
  Dial(
    "shift_size", (0.0, 0.5, 1.0), (frozen_auc, oracle_auc), {"shift_on_day": 8, "daily_drift": 0.0}
  ),
  Dial("new_videos_share", (0.0, None, 0.5), (new_to_the_log,)),
  Dial("tail", (1.0, 2.0, 3.0), (watch_tail,)),
  Dial("label_noise", (0.0, 0.05, 0.2), (oracle_auc,)),
  Dial("bad_batches", (0.0, 0.1, 0.3), (oracle_auc,)),
  Dial("num_noise_features", (0, 40, 160), (fit_auc,)),
  Dial("num_extra_tasks", (0, 4, 12), (tasks_by_rate,)),
)


def main(argv: Sequence[str]) -> int:
  """Draws; exit code 2 on an argument or a size that cannot be drawn."""
  try:
    if argv[1:]:
      raise DataError(f"unexpected argument {argv[1]!r}; see --help")
    source = Synthetic(rows_per_day=flags.FLAGS.rows_per_day)
    folder = Path(flags.FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    for dial in DIALS:
      path = folder / f"{dial.name}.png"
      draw(dial, source, path)
      print(path)
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(f"error: {error.filename}: {error.strerror}; choose another --out", file=sys.stderr)
    return 2
  return 0


def draw(dial: Dial, source: Synthetic, path: Path) -> None:
  """Writes one picture, 100 dots an inch, of `source` with the dial at each of its settings."""
  width = 3.2 + 2.8 * len(dial.panels)
  figure, panels = plt.subplots(
    1, len(dial.panels), figsize=(width, 3), layout="constrained", squeeze=False, sharey=True
  )
  for number, setting in enumerate(dial.settings):
    turned = dataclasses.replace(source, **{**dial.beside, dial.name: setting})
    style = {
      **{"color": COLOURS[number], "marker": MARKERS[number], "markersize": 4, "zorder": number},
      "label": f"{dial.name} = {setting}",
    }
    for panel, axes in zip(dial.panels, panels[0], strict=True):
      panel(axes, turned, style)
  for axes in panels[0]:
    if axes.get_xlabel() == "day":
      axes.xaxis.get_major_locator().set_params(integer=True)
  for axes in panels[0, 1:]:
    axes.set_ylabel("")
  panels[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
  figure.savefig(path, dpi=100, metadata={"Software": None})  # no version: same picture, same file
  plt.close(figure)


def share_new_to_the_log(log: FrameLog) -> Array:
  """[days]: the share of each day's rows whose video no earlier day has shown."""
  video = log.categorical["video_id"].to_numpy()
  first_day = np.full(video.max() + 1, len(log.day_names))
  np.minimum.at(first_day, video, log.day)
  return np.bincount(log.day, first_day[video] == log.day) / np.bincount(log.day)


def fitted_click_auc(log: FrameLog) -> list[float]:
  """Per day, the click AUC of least squares on the dense features of the first FIT_ROWS rows."""
  features = np.nan_to_num(log.dense.to_numpy(np.float64))
  features = np.column_stack([features, np.ones(len(features))])
  clicks = log.labels["click"].to_numpy(np.float64)
  weights = np.linalg.lstsq(features[:FIT_ROWS], clicks[:FIT_ROWS], rcond=None)[0]
  scores = features @ weights
  fitted = np.arange(len(scores)) < FIT_ROWS
  days = [(log.day == day) & ~fitted for day in range(len(log.day_names))]
  return [auc(clicks[rows], scores[rows]).value for rows in days]


def _click_auc(source: Synthetic, which: str) -> list[float | None]:
  return [day[which]["click"]["auc"] for day in source.oracle_by_day()]


def _days(source: Synthetic) -> Array:
  return np.arange(1, source.days + 1)


if __name__ == "__main__":
  # Here, because another script that a test imports has an --out, too.
  flags.DEFINE_string("out", "docs/dials", "Folder that the pictures are written to.")
  flags.DEFINE_integer("rows_per_day", 20_000, "Rows of a day.")
  app.run(main)
