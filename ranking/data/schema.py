"""What a log is before it is packed, and what a packed one is made of."""

import dataclasses
import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd

from ranking.array import Array
from ranking.errors import InputError
from ranking.nearest import nearest
from ranking.tasks import LabelStatistics, Task


class DataError(InputError):
  """Bad input data."""


@dataclasses.dataclass(frozen=True)
class Bag:
  """A variable-length list of ids per row (genres, tags), each distinct list held once.

  Attributes:
    lists: the distinct lists; an id is any hashable value, an empty list is allowed.
    index: integer [n], which of `lists` each row has.
  """

  lists: Sequence[Sequence[Hashable]]
  index: Array


@dataclasses.dataclass(frozen=True)
class Log:
  """A cleaned, time-ordered log with raw feature values: no vocabulary or statistic is taken yet.

  Attributes:
    time: int64 [n], event time in ms since epoch UTC, never decreasing.
    day: int32 [n], position in `day_names`, never decreasing; the last day is day N.
    day_names: N names, such as "2022-05-08".
    time_zone: where the days begin at midnight, such as "Asia/Shanghai".
    categorical: [n, C], any hashable values per column; a missing value (None, NaN) becomes id 0.
    bags: id lists by feature name.
    dense: float [n, D], already on a sensible scale (log1p where heavy-tailed); NaN = missing.
    labels: float32 [n, T], one column per task in the order of `tasks`; NaN = label missing.
    tasks: the first of each kind is the headline pair of the paper's Table 2.
    entities: categorical columns (user, item, author) that get as-of counts and rates.
    rated_tasks: tasks whose as-of mean label each entity gets.
    cleaning: what was dropped or repaired, and how many rows of it.
    truth: float64 [n, T] of true probabilities and means, for a source that knows its own.
    report_by: a categorical column whose values get figures of their own on day N.
  """

  time: Array
  day: Array
  day_names: Sequence[str]
  time_zone: str
  categorical: pd.DataFrame
  bags: Mapping[str, Bag]
  dense: pd.DataFrame
  labels: pd.DataFrame
  tasks: Sequence[Task]
  entities: Sequence[str]
  rated_tasks: Sequence[str]
  cleaning: Mapping[str, int]
  truth: pd.DataFrame | None = None
  report_by: str | None = None


@runtime_checkable
class Source(Protocol):
  """A place that a log comes from. It is pickled: its days are described by several processes.

  A log that is larger than memory is read in parts, a part in pieces. Preparing sorts the rows of
  all pieces into days, the rows of a day by time, and has them described block by block.
  """

  @property
  def name(self) -> str:
    """The name of the dataset; its stores are below a folder of this name."""

  @property
  def log_version(self) -> int:
    """Raised by hand when the same files and options become another log."""

  @property
  def keep_duplicates(self) -> bool | None:
    """Whether rows that repeat an earlier one in every column stay; None = none is looked for."""

  def identity(self) -> dict[str, Any]:
    """Everything the log depends on, JSON-serialisable: files with their sha256, or options."""

  def parts(self) -> Sequence[str]:
    """Parts that can be read side by side, those of earlier rows first: paths of files, or names.

    Raises DataError where there is nothing to read.
    """

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, Mapping[str, int]]]:
    """Pieces of a part, each with what was dropped or repaired in it, and how many rows of it.

    A piece is a frame of some hundred thousand rows at most, in any order, of what `describe`
    needs and as narrow as that goes. It has the columns `time`, int64, ms since epoch UTC, and
    `day`, an integer that is the same for all rows of a day and larger for later days. All pieces
    have the same columns; only rows of the same day are duplicates of each other.
    """

  def tables(self) -> Any:
    """What `describe` looks up beside the rows, such as features of users; read once per log."""

  def describe(self, rows: pd.DataFrame, tables: Any) -> Log:
    """The log of some rows, numbered from 0 and in order of time, none a duplicate to be dropped.

    What it says of a row depends on the row and `tables` alone: rows may be described together or
    in blocks. Raises DataError on bad input.
    """


def sha256(path: Path) -> str:
  """Hex digest of a file's content."""
  with open(path, "rb") as file:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
      digest.update(block)
  return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Feature:
  """One packed feature: a column of ids, `length` columns of a bag, or a dense column.

  `vocabulary_size` counts the ids 0..size-1 of a categorical feature or bag; 0 for dense.
  """

  name: str
  kind: Literal["categorical", "bag", "dense"]
  vocabulary_size: int = 0
  length: int = 1


@dataclasses.dataclass(frozen=True)
class Schema:
  """What a day store holds; the content of its schema.json that training needs.

  `entities` names the categorical features that have as-of counts and rates, first the one that
  says whose row it is. `report_by` names one whose values get figures of their own on day N, and
  `report_values` what its ids stand for.
  """

  dataset: str
  features: tuple[Feature, ...]
  tasks: tuple[Task, ...]
  day_names: tuple[str, ...]
  label_statistics: tuple[LabelStatistics, ...]
  entities: tuple[str, ...] = ()
  report_by: str | None = None
  report_values: tuple[str, ...] = ()

  def of_kind(self, kind: str) -> tuple[Feature, ...]:
    """The features of one kind, in the order of their columns."""
    return tuple(feature for feature in self.features if feature.kind == kind)

  def without_features(self, names: Sequence[str]) -> "Schema":
    """Leaves out features. Raises ValueError for one that there is not."""
    _check_names("feature", names, [feature.name for feature in self.features])
    kept = tuple(feature for feature in self.features if feature.name not in names)
    return dataclasses.replace(self, features=kept)

  def without_tasks(self, names: Sequence[str]) -> "Schema":
    """Leaves out tasks. Raises ValueError for one that there is not, or for all."""
    known = [task.name for task in self.tasks]
    _check_names("task", names, known)
    kept = [k for k, name in enumerate(known) if name not in names]
    if not kept:
      raise ValueError(f"no task is left without {', '.join(known)}; keep one")
    return dataclasses.replace(
      self,
      tasks=tuple(self.tasks[k] for k in kept),
      label_statistics=tuple(self.label_statistics[k] for k in kept),
    )

  def to_json(self) -> dict[str, Any]:
    """Turns it into plain lists and dicts."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> "Schema":
    """The inverse of `to_json`; further keys are ignored."""
    return cls(
      dataset=value["dataset"],
      features=tuple(Feature(**feature) for feature in value["features"]),
      tasks=tuple(Task(**task) for task in value["tasks"]),
      day_names=tuple(value["day_names"]),
      label_statistics=tuple(
        LabelStatistics.from_json(entry) for entry in value["label_statistics"]
      ),
      entities=tuple(value["entities"]),
      report_by=value["report_by"],
      report_values=tuple(value["report_values"]),
    )


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
  if not isinstance(names, (list, tuple)):
    raise ValueError(f"{names!r} is no list; make it a list of {what}s")
  for name in names:
    if name not in known:
      raise ValueError(f"no {what} {name!r}{nearest(str(name), known)}")
