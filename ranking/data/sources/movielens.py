"""MovieLens: film ratings as a log of six tasks, from an unpacked folder or through TFDS.

Harper and Konstan, "The MovieLens Datasets: History and Context", 10.1145/2827872. The data may not
be used commercially, and some sizes may not be passed on: it is read where it lies, never shipped.
"""

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side, sha256
from ranking.tasks import Task

if TYPE_CHECKING:
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

MOST_SLICES = 10_000
PIECE_ROWS = 1 << 20
TFDS_VERSIONS = ("latest-small", "100k", "1m", "20m", "25m")
HOUR, DAY, WEEK = 3600, 86400, 7 * 86400  # seconds
TASKS = (
  Task("liked", "binary"),
  Task("loved", "binary"),
  Task("disliked", "binary"),
  Task("tagged", "binary"),
  Task("rating", "regression"),
  Task("log_seconds_to_next", "regression"),
)

# Columns of people, which are not in every size.
_PEOPLE = ["gender", "age", "occupation"]
_TITLE_YEAR = r".*\((\d{4})(?:[-–]\d{0,4})?\)"  # the last such, as in "Lost (2004–2010)"
_NO_GENRE = {"", "unknown", "Unknown", "(no genres listed)"}
_FLAGS = (  # the 0/1 columns of u.item, in its order
  "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
  "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
_GENRE_FLAGS = _FLAGS.split("|")
_AGES = np.array([1, 18, 25, 35, 45, 50, 56])  # youngest of each age group, as ml-1m has them

_LIMITS: dict[str, tuple[float, float]] = {
  "userId": (0, 2**53),
  "movieId": (0, 2**53),
  "rating": (0.5, 5),
  "timestamp": (1, 2**32),  # seconds: a log in milliseconds is refused
  "age": (0, 150),
  **dict.fromkeys(_GENRE_FLAGS, (0, 1)),
}


@dataclasses.dataclass(frozen=True)
class _File:
  """One file of a layout. Comma-separated files name their columns, the others go by position."""

  name: str
  separator: str
  columns: list[str]
  optional: bool = False


_TFDS_COLUMNS = {
  "user_id": "userId",
  "movie_id": "movieId",
  "user_rating": "rating",
  "movie_title": "title",
  "movie_genres": "genres",
  "user_gender": "gender",
  "bucketized_user_age": "age",
  "user_occupation_text": "occupation",
}
_RATINGS = ["userId", "movieId", "rating", "timestamp"]
_MOVIES = ["movieId", "title", "genres"]
_TAGS = ["userId", "movieId", "tag", "timestamp"]
_TAGGED = ["userId", "movieId", "timestamp"]
_PERSON = ["userId", "gender", "age", "occupation"]
_LAYOUTS = {
  "ml-latest-small, ml-20m, ml-25m, ml-32m": {
    "ratings": _File("ratings.csv", ",", _RATINGS),
    "movies": _File("movies.csv", ",", _MOVIES),
    "tags": _File("tags.csv", ",", _TAGS, optional=True),
  },
  "ml-1m": {
    "ratings": _File("ratings.dat", "::", _RATINGS),
    "movies": _File("movies.dat", "::", _MOVIES),
    "users": _File("users.dat", "::", [*_PERSON, "zip"]),
  },
  "ml-10m": {
    "ratings": _File("ratings.dat", "::", _RATINGS),
    "movies": _File("movies.dat", "::", _MOVIES),
    "tags": _File("tags.dat", "::", _TAGS),
  },
  "ml-100k": {
    "ratings": _File("u.data", "\t", _RATINGS),
    "movies": _File("u.item", "|", ["movieId", "title", "date", "video", "url", *_GENRE_FLAGS]),
    "users": _File("u.user", "|", ["userId", "age", "gender", "occupation", "zip"]),
  },
}


@dataclasses.dataclass(frozen=True)
class MovieLens:
  """MovieLens as a source.

  Calendar days are nearly empty here, so a "day" is a slice of the time-ordered rows: `slices` of
  equal count, the last one (1/14 of all rows by default) to evaluate on. A boundary moves on to the
  next change of timestamp, so every row of a slice is strictly later than every row before it.

  Tasks: liked (rating >= 4), loved (>= 4.5; 5 where ratings are whole stars), disliked (<= 2),
  tagged, rating, log_seconds_to_next. tagged: the user tags the film up to 7 days after rating it,
  or up to an hour before, as one visit holds both in either order (in ml-latest-small a tag comes
  less than 21 minutes before its rating, or more than an hour). It is missing in the log's last 7
  days, and everywhere without a tags file (ml-1m, ml-100k, TFDS). log_seconds_to_next: log1p of the
  seconds to the user's next rating, at most a day; missing where the log ends too soon to tell.
  Both look ahead across boundaries: a label near the end of a slice may be decided in the next one.

  Attributes:
    raw: an unpacked folder of any of `_LAYOUTS`; None asks TFDS, which downloads.
    version: which `movielens/<version>-ratings` to ask TFDS for; a raw folder has its own.
    slices: how many slices, the evaluated one included.
  """

  raw: str | None = None
  version: str = "latest-small"
  slices: int = 14

  name = "movielens"
  log_version = 2

  def __post_init__(self) -> None:
    check = Checks("MovieLens", DataError)
    check.choice("version", self.version, TFDS_VERSIONS)
    check.whole("slices", self.slices, 2, MOST_SLICES)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of an unpacked MovieLens folder")
      if self.version != "latest-small":
        check.refuse("version", self.version, "it is downloaded: leave it out beside raw")

  def identity(self) -> dict[str, Any]:
    """The options, and the sha256 of each file used or the TFDS name and version."""
    identity: dict[str, Any] = {"slices": self.slices}
    if self.raw is not None:
      files = _find_files(Path(self.raw)).values()
      return identity | {"files": {file.name: sha256(Path(self.raw, file.name)) for file in files}}
    dataset = f"movielens/{self.version}-ratings"
    return identity | {"tfds": dataset, "tfds_version": str(_tfds_builder(self.version).version)}

  def log(self, engine: "Engine") -> Log:
    """All ratings, each once; those of one second in order of user and film id."""
    ratings: Iterable[pd.DataFrame]
    if self.raw is not None:
      ratings, tables = _read_folder(Path(self.raw))
    else:
      ratings, tables = _gather_examples(_tfds_examples(self.version))
    read = engine.arrow(_arrow(piece[_RATINGS]) for piece in ratings)
    films = engine.arrow(_films(tables["movies"]))
    tags = engine.arrow(_arrow(tables["tags"][_TAGGED])) if "tags" in tables else None
    rows = engine.keep(_with_neighbours(self._sliced(engine, read), films))
    rows = engine.keep(_with_tags(rows, tags))
    cleaning: dict[str, Any] = {
      "duplicate_rows": engine.number(read.count()) - engine.number(rows.count()),
      **_of_films(rows, films),
    }
    sides = [Side(films, {"movieId": rows.movieId})]
    people: dict[str, Any] = {}
    if "users" in tables:
      users = engine.arrow(_users(tables["users"]))
      sides.append(Side(users, {"userId": rows.userId}))
      people = {name: users[name] for name in _PEOPLE}
      strangers = rows.select("userId").distinct().anti_join(users, "userId")
      cleaning["users_not_listed"] = strangers.count()
    first = engine.frame(rows.group_by("slice").agg(second=rows.timestamp.min()))
    dates = pd.Series(pd.to_datetime(first.second, unit="s").to_numpy(), first["slice"])
    return Log(
      rows=rows,
      time=rows.timestamp * 1000,
      day=rows["slice"],
      day_name=lambda number: f"slice-{number + 1:02d}_{dates[number]:%Y-%m-%d}",
      time_zone="UTC",
      sides=sides,
      categorical={
        "user_id": rows.userId,
        "movie_id": rows.movieId,
        "hour": rows.timestamp // HOUR % 24,
        "day_of_week": (rows.timestamp // DAY + 3) % 7,  # 1970 began on a Thursday; Monday is 0
        "release_year": films.year,
        "release_decade": films.year // 10 * 10,
        **people,
      },
      bags={"genres": films.genres},
      dense={
        "log_seconds_since_previous": Number(rows.since_previous, np.log1p),
        "log_movie_age_years": Number(rows.age, np.log1p),
      },
      labels=_labels(rows, engine.number(rows.timestamp.max())),
      tasks=TASKS,
      entities=("user_id", "movie_id"),
      rated_tasks=("liked", "rating"),
      cleaning=cleaning,
    )

  def _sliced(self, engine: "Engine", read: "ir.Table") -> "ir.Table":
    """Each rating once, with its slice. Raises DataError where they cannot be cut."""
    from ranking.data import calendar  # slow, and only needed here

    ratings = engine.keep(read.distinct())
    ends = calendar.slice_ends(engine, ratings.timestamp, self.slices)
    if len(ends) < self.slices:
      count, seconds = (engine.number(n) for n in (ratings.count(), ratings.timestamp.nunique()))
      raise DataError(
        f"{count} ratings at {seconds} different seconds cannot be cut into {self.slices} slices; "
        "set MovieLens.slices lower"
      )
    return calendar.sliced(engine, ratings, "timestamp", ends)


def _labels(rows: "ir.Table", end: int) -> dict[str, Number]:
  """The labels of ratings; `end` is the last second of the log."""
  import ibis

  until_end = end - rows.timestamp
  is_last = rows.to_next.isnull() & (until_end < DAY)
  seconds = ibis.ifelse(is_last, None, rows.to_next.fill_null(DAY).clip(upper=DAY))
  return {
    "liked": Number(rows.rating >= 4),
    "loved": Number(rows.rating >= 4.5),
    "disliked": Number(rows.rating <= 2),
    # Tags already seen in the last week go too: the positives alone would make the rate 1.
    "tagged": Number(ibis.ifelse(until_end < WEEK, None, rows.tagged)),
    "rating": Number(rows.rating),
    "log_seconds_to_next": Number(seconds, np.log1p),
  }


def _of_films(rows: "ir.Table", films: "ir.Table") -> dict[str, Any]:
  """What is not known of how many of the films that were rated."""
  rated = rows.select(film="movieId").distinct()
  rated = rated.left_join(films, rated.film == films.movieId)
  return {
    "movies_not_listed": rated.movieId.isnull().sum(),
    "movies_without_year": rated.year.isnull().sum(),
    "movies_without_genres": (rated.genres.length().fill_null(0) == 0).sum(),
  }


def _arrow(frame: pd.DataFrame) -> pa.Table:
  return pa.Table.from_pandas(frame, preserve_index=False)


def _films(movies: pd.DataFrame) -> pa.Table:
  """Of each film its release year and its genres, null and none if unknown."""
  listed = movies.drop_duplicates("movieId")
  years = listed.title.astype("str").str.extract(_TITLE_YEAR)[0]
  genres = [
    text.split("|") if text else [] for text in listed.genres.fillna("").map(_canonical_genres)
  ]
  return pa.table(
    {
      "movieId": pa.array(listed.movieId.to_numpy()),
      "year": pa.array(pd.to_numeric(years).astype("Int64")),
      "genres": pa.array(genres, pa.list_(pa.string())),
    }
  )


def _users(users: pd.DataFrame) -> pa.Table:
  """Of each user _PEOPLE, the age as ml-1m has it."""
  known = users.drop_duplicates("userId")
  ages = _AGES[np.searchsorted(_AGES[1:], known.age, side="right")]
  return _arrow(known[_PERSON].assign(age=ages))


def _with_neighbours(rows: "ir.Table", films: "ir.Table") -> "ir.Table":
  """Adds since_previous and to_next, seconds, and age, of the film in years."""
  import ibis

  of_user = ibis.window(group_by="userId", order_by=["timestamp", "movieId", "rating"])
  rows = rows.mutate(to_next=rows.timestamp.lead().over(of_user) - rows.timestamp)
  # Ratings of the same second are not earlier: they share the gap of the first among them.
  seconds = rows.select(who="userId", second="timestamp").distinct()
  before = seconds.second.lag().over(ibis.window(group_by="who", order_by="second"))
  seconds = seconds.mutate(since_previous=seconds.second - before)
  years = films.select(film="movieId", year="year")
  both = rows.left_join(seconds, [rows.userId == seconds.who, rows.timestamp == seconds.second])
  both = both.left_join(years, both.movieId == years.film)
  # The title says only the year, and some films are rated before it.
  age = (both.timestamp / (365.25 * DAY) + 1970.0 - both.year).clip(lower=0)
  return both.select(*rows.columns, "since_previous", age=age)


def _with_tags(rows: "ir.Table", tags: "ir.Table | None") -> "ir.Table":
  """Adds tagged: 1 where the user tags the film about when it is rated, else 0; null: no tags."""
  import ibis

  if tags is None:
    return rows.mutate(tagged=ibis.null("float64"))
  tags = tags.select(who="userId", film="movieId", at="timestamp")
  keys = ["userId", "movieId", "timestamp"]
  pairs = rows.inner_join(tags, [rows.userId == tags.who, rows.movieId == tags.film])
  delay = pairs["at"] - pairs.timestamp
  near = pairs.filter(delay.between(-HOUR, WEEK)).select(*keys).distinct()
  near = near.rename({f"tagged {key}": key for key in keys})
  both = rows.left_join(near, [rows[key] == near[f"tagged {key}"] for key in keys])
  return both.select(*rows.columns, tagged=both["tagged userId"].notnull().cast("float64"))


def _canonical_genres(text: str) -> str:
  """ "Drama|Children's" as "Children|Drama": sorted, one spelling, nothing for no genre."""
  return "|".join(sorted(set(text.replace("Children's", "Children").split("|")) - _NO_GENRE))


def _read_folder(folder: Path) -> tuple[Iterator[pd.DataFrame], dict[str, pd.DataFrame]]:
  """The ratings of a folder, some at a time; and movies, and users and tags if it has them."""
  files = _find_files(folder)
  ratings = _read_pieces(folder / files["ratings"].name, files.pop("ratings"))
  tables = {
    table: pd.concat(_read_pieces(folder / file.name, file)) for table, file in files.items()
  }
  movies = tables["movies"]
  if "genres" not in movies:
    flags = movies[_GENRE_FLAGS].to_numpy()
    movies["genres"] = ["|".join(itertools.compress(_GENRE_FLAGS, row)) for row in flags]
  return ratings, tables


def _find_files(folder: Path) -> dict[str, _File]:
  """Which layout a folder has, by its files; all of its files but the optional ones must exist."""
  present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
  fitting = [files for files in _LAYOUTS.values() if files["ratings"].name in present]
  if not fitting:
    got = ", ".join(sorted(present)[:5]) or "no files"
    raise DataError(
      f"{folder}: not an unpacked MovieLens folder ({got}); set raw to the folder that holds "
      "ratings.csv, ratings.dat or u.data"
    )
  files = max(fitting, key=lambda files: sum(file.name in present for file in files.values()))
  for file in files.values():
    if file.name not in present and not file.optional:
      raise DataError(f"{folder / file.name}: file is missing; unpack the archive again")
  return {table: file for table, file in files.items() if file.name in present}


def _read_pieces(path: Path, file: _File) -> Iterator[pd.DataFrame]:
  """The columns of a file, numbers checked and text as it is, PIECE_ROWS at a time."""
  named = file.separator == ","
  options: dict[str, Any] = {"encoding": "utf-8-sig"}
  if not named:  # latin-1 takes any byte, and all that is used of the text is ASCII
    options = {"encoding": "latin-1", "header": None, "quoting": csv.QUOTE_NONE}
  try:
    source: Path | io.StringIO = path
    if file.separator == "::":  # the fast parser takes one character only
      source = io.StringIO(path.read_text("latin-1").replace("::", "\t"))
    separator = "\t" if file.separator == "::" else file.separator
    options |= {"sep": separator, "keep_default_na": False, "low_memory": False}
    first = 0
    with pd.read_csv(source, chunksize=PIECE_ROWS, **options) as pieces:
      for piece in pieces:
        yield _checked(piece, path, file, first)
        first += len(piece)
  except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
    reason = " ".join(str(error).split())
    raise DataError(f"{path}: not a table ({reason}); unpack the archive again") from error
  if not first:
    raise DataError(f"{path}: a header and no rows; unpack the archive again")


def _checked(table: pd.DataFrame, path: Path, file: _File, first: int) -> pd.DataFrame:
  """A piece of a file from its row `first` on, its columns checked and named."""
  named = file.separator == ","
  if not named and table.shape[1] == len(file.columns):
    table.columns = pd.Index(file.columns)
  missing = [column for column in file.columns if column not in table]
  if missing:
    got = ", ".join(table.columns) if named else f"{table.shape[1]} of {len(file.columns)} columns"
    raise DataError(f"{path}: no column {missing[0]!r}, got {got}; unpack the archive again")
  for column in file.columns:
    if column in _LIMITS:
      table[column] = _numbers(table[column], path, first)
  return table[file.columns]


def _numbers(column: pd.Series, path: Path, first: int) -> pd.Series:
  """A column as float64 (rating) or int64 (all others), or a DataError for its first bad value."""
  whole = column.name != "rating"
  low, high = _LIMITS[str(column.name)]
  values = pd.to_numeric(column, errors="coerce")
  bad = ~values.between(low, high) | (whole & (values % 1 != 0))
  if bad.any():
    row = int(bad.to_numpy().argmax())
    raise DataError(
      f"{path}: row {first + row + 1} has {column.name} {str(column.iloc[row])!r}, not a "
      f"{'whole ' if whole else ''}number from {low} to {high}; unpack the archive again"
    )
  return values.astype(np.int64 if whole else np.float64)


def _tfds_builder(version: str) -> Any:
  import tensorflow_datasets as tfds  # slow, and only needed here

  return tfds.builder(f"movielens/{version}-ratings")


def _tfds_examples(version: str) -> Iterator[dict[str, Array]]:
  """Batches of TFDS's columns in its hashed order, ids as int64 and genres as b"Comedy|Drama"."""
  import tensorflow as tf
  import tensorflow_datasets as tfds

  builder = _tfds_builder(version)
  try:
    builder.download_and_prepare()
  except (OSError, tfds.download.DownloadError) as error:
    reason = " ".join(str(error).split())
    raise DataError(
      f"TFDS cannot get movielens/{version}-ratings ({reason}); unpack the archive from "
      "https://grouplens.org/datasets/movielens and set raw to its folder"
    ) from error
  genres = tf.constant(builder.info.features["movie_genres"].feature.names)

  def flatten(example: dict[str, Any]) -> dict[str, Any]:
    words = tf.gather(genres, example["movie_genres"])
    ids = {key: tf.strings.to_number(example[key], tf.int64) for key in ("user_id", "movie_id")}
    return example | ids | {"movie_genres": tf.strings.reduce_join(words, separator="|")}

  yield from tfds.as_numpy(builder.as_dataset(split="train").map(flatten).batch(1 << 16))


def _gather_examples(
  batches: Iterator[dict[str, Array]],
) -> tuple[list[pd.DataFrame], dict[str, pd.DataFrame]]:
  """The tables that TFDS joined: each film and user is kept once, so that millions of rows fit."""
  parts: dict[str, list[pd.DataFrame]] = {"ratings": [], "movies": [], "users": []}
  for batch in batches:
    table = pd.DataFrame(batch).rename(columns=_TFDS_COLUMNS)
    parts["ratings"].append(table[_RATINGS])
    parts["movies"].append(table[_MOVIES].drop_duplicates("movieId"))
    if "gender" in table:
      parts["users"].append(table[_PERSON].drop_duplicates("userId"))
  ratings = parts.pop("ratings")
  tables = {name: pd.concat(part, ignore_index=True) for name, part in parts.items() if part}
  for text in ("title", "genres"):
    tables["movies"][text] = tables["movies"][text].str.decode("utf-8")
  if "users" in tables:
    tables["users"]["gender"] = np.where(tables["users"].gender, "M", "F")
    tables["users"]["occupation"] = tables["users"].occupation.str.decode("utf-8")
  return ratings, tables
