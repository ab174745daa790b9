"""What a log is before it is packed, and what a packed one is made of."""

import dataclasses
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from ranking.array import Array
from ranking.errors import InputError
from ranking.nearest import nearest
from ranking.tasks import LabelStatistics, Task

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir

  from ranking.data.engine import Engine


class DataError(InputError):
  """Bad input data."""


@dataclasses.dataclass(frozen=True)
class Number:
  """A column of numbers, null where missing.

  Attributes:
    value: the number as the engine has it.
    scale: what NumPy takes of it while rows are packed, such as np.log1p. Engines add, divide and
      compare as NumPy does, but round a logarithm each in its own way.
  """

  value: "ir.Value"
  scale: Callable[[Array], Array] | None = None


@dataclasses.dataclass(frozen=True)
class Side:
  """A table with a line per user, video or whatever its keys say; lines that are missing are null.

  Attributes:
    table: at most one line per key.
    keys: column of the table by name → the expression over the log's rows that it equals.
  """

  table: "ir.Table"
  keys: Mapping[str, "ir.Value"]


def date_of(day: int) -> str:
  """The ISO date of a number of days since 1970."""
  return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


@dataclasses.dataclass(frozen=True)
class Log:
  """A cleaned log, declared: each feature is an expression over `rows` or over the table of a side.

  Nothing is computed before an engine runs it, and no vocabulary or statistic is taken yet.

  Attributes:
    rows: one row per event, in any order.
    time: over rows; int64, event time in ms since epoch UTC, never null.
    day: over rows; a whole number, the same for all rows of a day and larger for later days.
    time_zone: where the days begin at midnight, such as "Asia/Shanghai".
    tasks: the first of each kind is the headline pair of the paper's Table 2.
    labels: one per task, in their order, over rows; null = label missing.
    categorical: whole numbers or text; null = missing, which becomes id 0.
    bags: arrays of whole numbers or text (genres, tags); null = an empty one.
    dense: already on a sensible scale (log1p where heavy-tailed); null = missing.
    entities: categorical columns of rows (user, item, author) that get as-of counts and rates.
    rated_tasks: tasks whose as-of mean label each entity gets.
    report_by: a categorical column whose values get figures of their own on day N.
    sides: tables that other features come from.
    cleaning: what was dropped or repaired, and how many rows of it: a number, or an expression.
    truth: per task true probabilities and means, for a source that knows its own; over rows.
    sequence: over rows; a whole number that orders all rows. None = rows of one time are ordered by
      all of their columns, so that equal rows alone can change places.
    day_name: of a day's number.
    weight: over rows; how much each counts in losses and figures, 0 or more; None = all the same.
    request: over rows; a whole number, of one day the same for what was ranked together, 0 for a
      row of no request; None = the log does not say.
    notes: what was told from the files, and what a person should look at; a line each, said and
      kept in the store's summary.
  """

  rows: "ir.Table"
  time: "ir.Value"
  day: "ir.Value"
  time_zone: str
  tasks: Sequence[Task]
  labels: Mapping[str, Number]
  categorical: Mapping[str, "ir.Value"]
  bags: Mapping[str, "ir.Value"] = dataclasses.field(default_factory=dict)
  dense: Mapping[str, Number] = dataclasses.field(default_factory=dict)
  entities: Sequence[str] = ()
  rated_tasks: Sequence[str] = ()
  report_by: str | None = None
  sides: Sequence[Side] = ()
  cleaning: Mapping[str, "int | ir.Value"] = dataclasses.field(default_factory=dict)
  truth: Mapping[str, "ir.Value"] = dataclasses.field(default_factory=dict)
  sequence: "ir.Value | None" = None
  day_name: Callable[[int], str] = date_of
  notes: Sequence[str] = ()
  weight: "ir.Value | None" = None
  request: "ir.Value | None" = None

  @property
  def extras(self) -> "dict[str, ir.Value]":
    """By the name of their array in the store: a column each that not every log has."""
    given = {"weights": self.weight, "requests": self.request}
    return {name: value for name, value in given.items() if value is not None}


@runtime_checkable
class Source(Protocol):
  """A place that a log comes from."""

  @property
  def name(self) -> str:
    """Stores are below a folder of this name."""

  @property
  def log_version(self) -> int:
    """Raised by hand when the same files and options become another log."""

  def identity(self) -> dict[str, Any]:
    """Everything the log depends on, JSON-serialisable: files with their sha256, or options."""

  def log(self, engine: "Engine") -> Log:
    """Declares the log; may have the engine read and keep tables. Raises DataError on bad input."""


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

  `vocabulary_size` counts the ids 0..size-1 of a categorical feature or bag; 0 for dense. Features
  of one `table` have their ids in common; "" for a feature whose ids are its own.
  """

  name: str
  kind: Literal["categorical", "bag", "dense"]
  vocabulary_size: int = 0
  length: int = 1
  table: str = ""


@dataclasses.dataclass(frozen=True)
class Schema:
  """What a day store holds; the content of its schema.json that training needs.

  `entities` names the categorical features that have as-of counts and rates, first the one that
  says whose row it is. `report_by` names one whose values get figures of their own on day N, and
  `report_values` what its ids stand for. In a `weighted` store rows do not count the same, and one
  with `requests` says which rows were ranked together. `recent` names the bags of a user's latest
  items (whose ids are those of the second entity), of their ages and of what the user did, if the
  store has these details.
  """

  dataset: str
  features: tuple[Feature, ...]
  tasks: tuple[Task, ...]
  day_names: tuple[str, ...]
  label_statistics: tuple[LabelStatistics, ...]
  entities: tuple[str, ...] = ()
  report_by: str | None = None
  report_values: tuple[str, ...] = ()
  weighted: bool = False
  requests: bool = False
  recent: tuple[str, ...] = ()

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
    plain = dataclasses.asdict(self)
    if not self.requests:  # what earlier versions had not
      del plain["requests"]
    if not self.recent:  # what earlier versions had not
      del plain["recent"]
    for feature in plain["features"]:
      if not feature["table"]:
        del feature["table"]
    return plain

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
      weighted=value.get("weighted", False),
      requests=value.get("requests", False),
      recent=tuple(value.get("recent", ())),
    )


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
  if not isinstance(names, (list, tuple)):
    raise ValueError(f"{names!r} is no list; make it a list of {what}s")
  for name in names:
    if name not in known:
      raise ValueError(f"no {what} {name!r}{nearest(str(name), known)}")
