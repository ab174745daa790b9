"""What a day store holds, day by day: label means, missing, unseen and rare values, and drift.

Reads the store alone, a block of rows at a time. Drift is the population stability index (PSI) of
two sets of rows with the shares p and q in the same bins,

    PSI = Σ (p - q) · ln(p / q),    share of a bin = (rows in it + ½) / (all rows + ½ · bins),

of each day against the reference (the first training days) and against the day before. The bins of
a dense feature are: missing, and what lies between the deciles of the reference, where a value that
holds two deciles or more has a bin of its own. Those of a categorical feature or a bag's ids are:
id 0, rare, each of the ids most frequent in the reference, and the rest.

Two things are not in a store as such. A missing dense value was stored as exactly 0, the training
mean, and a 0 is counted as missing here. Id 0 is a missing value on a training day, and a missing
or unseen one on day N.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data.features import FIRST_ID
from ranking.data.remark import unanswered
from ranking.data.schema import Feature, Schema
from ranking.data.store import Day
from ranking.tasks import KINDS

RARE_ID = 1
REFERENCE_DAYS = 7  # at most; and at most half of the training days
DECILES = np.arange(1, 10) / 10
DECILE_ROWS = 200_000  # the deciles are those of about so many rows, evenly spaced
TOP_IDS = 20
SMOOTHING = 0.5  # rows added to each bin
NOTABLE_PSI = 0.25
NOTABLE_GAP_HOURS = 24
SMALL_DAY = 0.1  # of the rows of the median day
BLOCK = 1 << 18  # rows in memory at a time
MS_PER_HOUR = 3_600_000


@dataclasses.dataclass(frozen=True)
class Report:
  """Figures per day; a share, mean or PSI of no rows is NaN.

  Attributes:
    reference: names of the days that every day is compared with.
    days: by day: rows, first_time and last_time (ms since epoch UTC; NaN without rows).
    labels: by day and task: kind, labelled (rows), positives (rows above 0), mean.
    features: by day and feature:
      missing: share of rows.
      rare: share of a categorical feature's rows or of a bag's ids; NaN for dense.
      unseen: share of a categorical feature's rows whose id is not rare and on no earlier day; on
        day N, of rows with id 0, or NaN if that is a missing value on a training day; NaN on the
        first day, and for bags and dense.
      only_value: bytes of the value that all rows of the day have; None if they differ.
      psi_reference, psi_day_before: of the day; the latter NaN on the first day.
      chance: what psi_reference is about without drift, from so few rows.
  """

  reference: tuple[str, ...]
  days: pd.DataFrame
  labels: pd.DataFrame
  features: pd.DataFrame


def psi(histogram: Array, reference: Array) -> float:
  """Population stability index of two histograms [bins] over the same bins; NaN if one is empty."""
  if not histogram.sum() or not reference.sum():
    return math.nan
  p, q = (
    (rows + SMOOTHING) / (rows.sum() + SMOOTHING * len(rows)) for rows in (histogram, reference)
  )
  return float(np.sum((p - q) * np.log(p / q)))


def measure(schema: Schema, days: Sequence[Day]) -> Report:
  """Reads days 1..N of a store in order. One of days 1..N-1 must have rows."""
  train = [day for day in days[:-1] if len(day)]
  reference = train[: max(1, min(REFERENCE_DAYS, len(train) // 2))]
  labels = [row for day in days for row in _labels(schema, day)]
  return Report(
    reference=tuple(day.name for day in reference),
    days=pd.DataFrame([_rows(day) for day in days]).set_index("day"),
    labels=pd.DataFrame(labels).set_index(["day", "task"]),
    features=pd.DataFrame(list(_features(schema, days, reference))).set_index(["day", "feature"]),
  )


def _rows(day: Day) -> dict[str, Any]:
  first, last = (int(day.time[0]), int(day.time[-1])) if len(day) else (math.nan, math.nan)
  return {"day": day.name, "rows": len(day), "first_time": first, "last_time": last}


def _labels(schema: Schema, day: Day) -> Iterator[dict[str, Any]]:
  for number, task in enumerate(schema.tasks):
    label = np.asarray(day.labels[:, number], np.float64)
    known = label[~np.isnan(label)]
    yield {
      "day": day.name,
      "task": task.name,
      "kind": task.kind,
      "labelled": len(known),
      "positives": int((known > 0).sum()),
      "mean": _share(known.sum(), len(known)),
    }


def _features(
  schema: Schema, days: Sequence[Day], reference: Sequence[Day]
) -> Iterator[dict[str, Any]]:
  """Rows of the frame `features`. The reference days are read twice: its ids make the bins."""
  edges = _edges(schema, reference)
  of_reference = [_counts(schema, edges, day) for day in reference]
  bin_of, expected, before = {}, {}, {}
  for feature in schema.features:
    counts = np.sum([counted[feature.name] for counted in of_reference], axis=0)
    bin_of[feature.name] = _bin_of(feature, counts)
    expected[feature.name] = np.bincount(bin_of[feature.name], counts)
    before[feature.name] = np.zeros_like(expected[feature.name])
  seen = {feature.name: np.zeros(feature.vocabulary_size, bool) for feature in schema.features}
  for day in days:
    counted, only_values = _counts(schema, edges, day), _only_values(schema, day)
    for feature in schema.features:
      name, counts = feature.name, counted[feature.name]
      rare, unseen = math.nan, math.nan
      if feature.kind != "dense":
        rare = _share(counts[RARE_ID], counts.sum())
      if feature.kind == "categorical":
        if day is days[-1] and not seen[name][0]:
          unseen = _share(counts[0], len(day))
        elif day is not days[0] and day is not days[-1]:
          unseen = _share(counts[FIRST_ID:][~seen[name][FIRST_ID:]].sum(), len(day))
        seen[name] |= counts > 0
      histogram = np.bincount(bin_of[name], counts)
      noise = _share(1, histogram.sum()) + _share(1, expected[name].sum())
      yield {
        "day": day.name,
        "feature": name,
        "missing": _share(counts[0], len(day)),
        "rare": rare,
        "unseen": unseen,
        "only_value": only_values[name],
        "psi_reference": psi(histogram, expected[name]),
        "psi_day_before": psi(histogram, before[name]),
        "chance": (len(histogram) - 1) * noise,
      }
      before[name] = histogram


def _edges(schema: Schema, days: Sequence[Day]) -> dict[str, Array]:
  """Upper ends of the bins of each dense feature but the last, from its values that are not 0."""
  step = -(-sum(len(day) for day in days) // DECILE_ROWS)
  sample = np.concatenate([day.dense[::step] for day in days])
  edges = {}
  for number, feature in enumerate(schema.of_kind("dense")):
    known = sample[sample[:, number] != 0, number]
    if not len(known):
      edges[feature.name] = known
      continue
    deciles = np.quantile(known, DECILES, method="inverted_cdf")
    values, times = np.unique(deciles, return_counts=True)
    own_bin = values[times > 1]
    edges[feature.name] = np.union1d(values, np.nextafter(own_bin, np.float32(-np.inf)))
  return edges


def _bin_of(feature: Feature, counts: Array) -> Array:
  """The bin of each entry of `_counts`, int64 [entries], given those of the reference."""
  if feature.kind == "dense":
    return np.arange(len(counts))
  top = FIRST_ID + np.argsort(-counts[FIRST_ID:], kind="stable")[:TOP_IDS]
  bins = np.full(len(counts), FIRST_ID + len(top))
  bins[[0, RARE_ID]] = 0, RARE_ID
  bins[top] = np.arange(FIRST_ID, FIRST_ID + len(top))
  return bins


def _counts(schema: Schema, edges: Mapping[str, Array], day: Day) -> dict[str, Array]:
  """int64 rows of the day by id [vocabulary size], or by bin of a dense feature [edges + 2].

  Entry 0 is the rows without a value. A row of a bag counts once for each of its other ids.
  """
  total = {
    feature.name: np.zeros(feature.vocabulary_size or len(edges[feature.name]) + 2, np.int64)
    for feature in schema.features
  }
  for feature, values in _blocks(schema, day):
    counts = total[feature.name]
    if feature.kind == "dense":
      ids = 1 + np.searchsorted(edges[feature.name], values[values != 0], side="left")
    else:
      ids = values[values > 0]
    counts += np.bincount(ids, minlength=len(counts))
    counts[0] += (values == 0).all(axis=1).sum()
  return total


def _only_values(schema: Schema, day: Day) -> dict[str, bytes | None]:
  first: dict[str, Array] = {}
  varies = dict.fromkeys((feature.name for feature in schema.features), len(day) == 0)
  for feature, values in _blocks(schema, day):
    first.setdefault(feature.name, values[0])
    varies[feature.name] |= bool((values != first[feature.name]).any())
  return {name: None if varies[name] else first[name].tobytes() for name in varies}


def _blocks(schema: Schema, day: Day) -> Iterator[tuple[Feature, Array]]:
  """The day's values of each feature, [rows, length], a block of rows after the other."""
  for start in range(0, len(day), BLOCK):
    for kind, array in (("categorical", day.ids), ("bag", day.bags), ("dense", day.dense)):
      block, column = np.array(array[start : start + BLOCK]), 0
      for feature in schema.of_kind(kind):
        yield feature, block[:, column : column + feature.length]
        column += feature.length


def _share(part: float, whole: float) -> float:
  return float(part / whole) if whole else math.nan


def to_look_at(report: Report, past: Collection[str] = ()) -> list[str]:
  """What stands out from day to day, most serious first, a line each.

  Args:
    report: the figures.
    past: features that count what came before a row: that they grow is no news.
  """
  return [
    *_days_to_look_at(report.days),
    *_labels_to_look_at(report.labels),
    *_features_to_look_at(report, past),
  ]


def _days_to_look_at(days: pd.DataFrame) -> Iterator[str]:
  known = days[days.rows > 0]
  for day in days.index[days.rows == 0]:
    yield f"{day} has no rows"
  for day, rows in known.rows[known.rows < SMALL_DAY * days.rows.median()].items():
    yield f"{day} has {rows:,} rows, the median day {days.rows.median():,.0f}"
  hours = (
    known.first_time.iloc[1:].to_numpy() - known.last_time.iloc[:-1].to_numpy()
  ) / MS_PER_HOUR
  for number in np.flatnonzero(hours > NOTABLE_GAP_HOURS):
    before, after = known.index[number : number + 2]
    yield f"no row for {hours[number] / 24:.1f} days between {before} and {after}"


def _labels_to_look_at(labels: pd.DataFrame) -> Iterator[str]:
  for task, figures in labels.groupby(level="task", sort=False):
    figures = figures.droplevel("task")
    if unlabelled := figures.index[figures.labelled == 0].tolist():
      yield f"label {task} is on no row of {_few(unlabelled)}"
    silent = (
      figures.kind.map(lambda kind: KINDS[kind].counts_positives)
      & (figures.labelled > 0)
      & (figures.positives == 0)
    )
    if silent.any():
      yield f"label {task} is never positive on {_few(figures.index[silent].tolist())}"


def _features_to_look_at(report: Report, past: Collection[str]) -> Iterator[str]:
  drifting = []
  for name, figures in report.features.groupby(level="feature", sort=False):
    feature = str(name)
    figures = figures.droplevel("feature")[report.days.rows.to_numpy() > 0]
    constant = figures.only_value.notna()
    if constant.all():
      # Such as the day of the week: that it is another one each day is no news.
      alike = figures.only_value.nunique() == 1
      yield f"feature {feature} has one value {'in all rows' if alike else 'a day'}"
      continue
    if constant.any():
      yield f"feature {feature} has one value on {_few(figures.index[constant].tolist())}"
    high = [
      f"against {what} on {(values > NOTABLE_PSI).sum()} of {values.notna().sum()} days "
      f"({values.max():.2f} on {values.idxmax()})"
      for what, values in (
        ("the first training days", figures.psi_reference),
        ("the day before", figures.psi_day_before),
      )
      if values.max() > NOTABLE_PSI
    ]
    if high and feature not in past:
      highest = figures[["psi_reference", "psi_day_before"]].max(axis=None)
      line = f"feature {feature} drifts: PSI above {NOTABLE_PSI} {', '.join(high)}"
      drifting.append((-highest, line))
  yield from (line for _, line in sorted(drifting))


def _few(names: Sequence[str]) -> str:
  more = f" and {len(names) - 3} days more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more


def to_markdown(card: Mapping[str, Any], report: Report, pictures: Mapping[str, str]) -> str:
  """A store's card and report as a page, with the file names of pictures by their captions."""
  warnings, days = unanswered(card), report.days
  entities = card["entities"]
  asked = [f"{entity}_{task['name']}_rate" for entity in entities for task in card["tasks"]]
  found = to_look_at(report, {*asked, *(f"{entity}_count" for entity in entities)})
  return (
    "\n\n".join(
      [
        f"# {card['dataset']}, day by day",
        f"{days.rows.sum():,} rows of {len(days)} days in {card['time_zone']}; trained on all but "
        f"the last, evaluated on {days.index[-1]}.",
        f"## Warnings: {len(warnings)}",
        "\n".join(f"- {line}" for line in warnings) or "- none",
        f"## What stands out from day to day: {len(found)}",
        "\n".join(f"- {line}" for line in found) or "- nothing",
        *(f"![{caption}]({name})" for caption, name in pictures.items()),
        "## Rows and labels",
        "Positives of labelled rows where a label is 0 or 1, the mean of labelled rows elsewhere.",
        _table(_rows_and_labels(report)),
        "## Cleaning",
        "\n".join(f"- {what}: {count:,}" for what, count in card["cleaning"].items())
        or "- nothing",
        *_drift(report),
        *_shares(report),
      ]
    )
    + "\n"
  )


def by_day(report: Report, column: str) -> pd.DataFrame:
  """A figure of the features: a row per feature, a column per day."""
  names = report.features.index.unique("feature")
  return report.features[column].unstack("day").loc[names, report.days.index]


def _rows_and_labels(report: Report) -> pd.DataFrame:
  table = pd.DataFrame({"rows": report.days.rows.map("{:,}".format)})
  for task, label in report.labels.groupby(level="task", sort=False):
    table[task] = [
      "none"
      if not labelled
      else f"{positives:,} of {labelled:,} ({mean:.2%})"
      if KINDS[kind].counts_positives
      else f"{mean:.3f} of {labelled:,}"
      for kind, labelled, positives, mean in label.itertuples(index=False)
    ]
  return table


def _drift(report: Report) -> list[str]:
  reference, before = by_day(report, "psi_reference"), by_day(report, "psi_day_before")
  order = reference.max(axis=1).sort_values(ascending=False, kind="stable").index
  highest = pd.DataFrame(
    {
      f"highest against the {what}": [
        f"{row.max():.3f} on {row.idxmax()}" for _, row in table.loc[order].iterrows()
      ]
      for what, table in (("first training days", reference), ("day before", before))
    },
    index=order,
  )
  return [
    "## Drift",
    "The population stability index (PSI) is Σ (p - q) · ln(p / q), where p and q are the shares "
    f"of a bin: (its rows + {SMOOTHING}) / (all rows + {SMOOTHING} · bins). The first training "
    f"days are {report.reference[0]} to {report.reference[-1]}. The bins of a dense feature are "
    "missing and what lies between the deciles of these days; those of ids are none, rare, each of "
    f"the {TOP_IDS} most frequent on these days, and the rest. Chance alone makes a PSI of up to "
    f"about {report.features.chance.max():.2g} of rows as few as here.",
    _table(highest),
    "### Against the first training days",
    _table(reference.loc[order].map("{:.3f}".format)),
    "### Against the day before",
    _table(before.loc[order].iloc[:, 1:].map("{:.3f}".format)),
  ]


def _shares(report: Report) -> Iterator[str]:
  for column, title, meaning in (
    (
      "missing",
      "Missing",
      "Share of rows without a value; for a categorical feature on day N, or with an unseen one. A "
      "dense value counts as missing when it is exactly the training mean.",
    ),
    ("rare", "Rare", "Share of a categorical feature's rows, or of a bag's ids, that are rare."),
    (
      "unseen",
      "Unseen",
      "Share of rows whose id is on no earlier day, rare ones aside. On day N, of rows without an "
      "id, for features that have one in every row of the training days.",
    ),
  ):
    shares = by_day(report, column).dropna(how="all")
    some = (shares > 0).any(axis=1)
    yield from (f"## {title}", meaning)
    if some.any():
      yield _table(shares[some].map("{:.2%}".format))
    if not some.all():
      yield f"On no row: {', '.join(shares.index[~some])}."


def _table(frame: pd.DataFrame) -> str:
  """A table of texts; the index is its first column, and what is not a number is left empty."""
  rows = [[frame.index.name, *frame.columns], ["---"] * (1 + frame.shape[1])]
  rows += [[name, *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
  cells = [["" if str(cell).startswith("nan") else str(cell) for cell in row] for row in rows]
  return "\n".join("| " + " | ".join(row) + " |" for row in cells)
