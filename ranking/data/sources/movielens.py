"""MovieLens: film ratings as a log of six tasks, from an unpacked folder or through TFDS.

Harper and Konstan, "The MovieLens Datasets: History and Context", 10.1145/2827872. The data may not
be used commercially, and some sizes may not be passed on: it is read where it lies, never shipped.
"""

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import Bag, DataError, Log, sha256
from ranking.tasks import Task

MOST_SLICES = 10_000
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

# Columns of the log; those of people are not in every size.
_IDS = ["user_id", "movie_id", "hour", "day_of_week", "release_year", "release_decade"]
_PEOPLE = ["gender", "age", "occupation"]
_DENSE = ["log_seconds_since_previous", "log_movie_age_years"]
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
  log_version = 1
  keep_duplicates = None  # ratings have to be distinct before they are cut into slices

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

  def parts(self) -> list[str]:
    """One: labels look ahead and slices count all rows, so that the log is read as a whole."""
    if self.raw is None:
      return [f"movielens/{self.version}-ratings"]
    _find_files(Path(self.raw))
    return [self.raw]

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, dict[str, int]]]:
    """All ratings in order of time, those of one second in order of user and film id, as one piece.

    Columns: time; day, int32, the slice; first_second, int64, of the slice; genres, a category such
    as "Comedy|Drama"; and the columns of the log under their names.
    """
    if self.raw is not None:
      tables = _read_folder(Path(self.raw))
    else:
      tables = _gather_examples(_tfds_examples(self.version))
    ratings = tables["ratings"].drop_duplicates()
    # TFDS stores its examples in hashed order: only values can break ties the same way everywhere.
    ratings = ratings.sort_values(["timestamp", "userId", "movieId"], ignore_index=True)
    time = ratings.timestamp.to_numpy()
    day = _slice_of_rows(time, self.slices)

    film, rated = pd.factorize(ratings.movieId)  # film: [n], which of `rated` each row has
    movies = tables["movies"].drop_duplicates("movieId").set_index("movieId").reindex(rated)
    years = movies.title.astype("str").str.extract(_TITLE_YEAR)[0].astype(np.float64).to_numpy()
    genre, genres = pd.factorize(movies.genres.fillna("").map(_canonical_genres))
    cleaning = {
      "duplicate_rows": len(tables["ratings"]) - len(ratings),
      "movies_not_listed": int(movies.title.isna().sum()),
      "movies_without_year": int(np.isnan(years).sum()),
      "movies_without_genres": int((np.asarray(genres) == "")[genre].sum()),
    }
    categorical = _categorical(ratings, years[film])
    if "users" in tables:
      users = tables["users"].drop_duplicates("userId").set_index("userId")
      users["age"] = _AGES[np.searchsorted(_AGES[1:], users.age, side="right")]
      categorical[_PEOPLE] = users[_PEOPLE].reindex(ratings.userId).to_numpy()
      cleaning["users_not_listed"] = len(set(ratings.userId) - set(users.index))
    columns = {
      "time": time * 1000,
      "day": day,
      "first_second": time[np.searchsorted(day, day)],
      "genres": pd.Categorical.from_codes(genre[film], genres),
    }
    piece = [categorical, _dense(ratings, years[film]), _labels(ratings, tables.get("tags"))]
    yield pd.concat([pd.DataFrame(columns), *piece], axis=1), cleaning

  def tables(self) -> None:
    """Nothing: all is in the rows."""

  def describe(self, rows: pd.DataFrame, tables: None) -> Log:
    """The log of some of the rows."""
    slices, first, day = np.unique(rows.day, return_index=True, return_inverse=True)
    dates = pd.to_datetime(rows.first_second.to_numpy()[first], unit="s")
    genre, genres = pd.factorize(rows.genres)
    return Log(
      time=rows.time.to_numpy(),
      day=day.astype(np.int32),
      day_names=[
        f"slice-{k + 1:02d}_{date:%Y-%m-%d}" for k, date in zip(slices, dates, strict=True)
      ],
      time_zone="UTC",
      categorical=rows[[name for name in (*_IDS, *_PEOPLE) if name in rows]],
      bags={"genres": Bag([text.split("|") if text else [] for text in genres], genre)},
      dense=rows[_DENSE],
      labels=rows[[task.name for task in TASKS]],
      tasks=TASKS,
      entities=("user_id", "movie_id"),
      rated_tasks=("liked", "rating"),
      cleaning={},
    )


def _slice_of_rows(time: Array, slices: int) -> Array:
  """int32 [n]: equal counts of rows, each cut moved on to the next change of `time` [n]."""
  cuts = [len(time) * k // slices for k in range(1, slices)]
  starts = [int(np.searchsorted(time, time[cut - 1], side="right")) for cut in cuts]
  rows = np.diff([0, *starts, len(time)])
  if (rows <= 0).any():
    raise DataError(
      f"{len(time)} ratings at {len(np.unique(time))} different seconds cannot be cut into "
      f"{slices} slices; set MovieLens.slices lower"
    )
  return np.repeat(np.arange(slices, dtype=np.int32), rows)


def _categorical(ratings: pd.DataFrame, year: Array) -> pd.DataFrame:
  """Ids, the hour and weekday (Monday = 0) in UTC, and the film's `year` [n], NaN if unknown."""
  when = pd.to_datetime(ratings.timestamp, unit="s").dt
  return pd.DataFrame(
    {
      "user_id": ratings.userId,
      "movie_id": ratings.movieId,
      "hour": when.hour,
      "day_of_week": when.dayofweek,
      "release_year": year,
      "release_decade": year // 10 * 10,
    }
  )


def _dense(ratings: pd.DataFrame, year: Array) -> pd.DataFrame:
  """log1p of the seconds since the user's last earlier second with a rating, and of film age."""
  gap = ratings.groupby("userId").timestamp.diff()
  # Ratings of the same second are not earlier: they share the gap of the first among them.
  since_previous = gap.mask(gap == 0).groupby(ratings.userId).ffill()
  # The title says only the year, and some films are rated before it.
  age = (1970 + ratings.timestamp / (365.25 * DAY) - year).clip(lower=0)
  return pd.DataFrame(
    {"log_seconds_since_previous": np.log1p(since_previous), "log_movie_age_years": np.log1p(age)}
  )


def _labels(ratings: pd.DataFrame, tags: pd.DataFrame | None) -> pd.DataFrame:
  """float32 [n, 6] in the order of TASKS; the log is taken to end with its last rating."""
  rating, remaining = ratings.rating, ratings.timestamp.max() - ratings.timestamp
  to_next = -ratings.groupby("userId").timestamp.diff(-1)
  unknown = to_next.isna() & (remaining < DAY)
  columns = {
    "liked": rating >= 4,
    "loved": rating >= 4.5,
    "disliked": rating <= 2,
    "tagged": np.nan,
    "rating": rating,
    "log_seconds_to_next": np.log1p(to_next.fillna(DAY).clip(upper=DAY)).mask(unknown),
  }
  labels = pd.DataFrame(columns, dtype=np.float32)
  if tags is not None:
    pairs = ratings.reset_index().merge(tags, on=["userId", "movieId"], suffixes=("", "_tag"))
    delay = pairs.timestamp_tag - pairs.timestamp
    labels["tagged"] = np.float32(0)
    labels.loc[pairs["index"][delay.between(-HOUR, WEEK)], "tagged"] = 1
    # Tags already seen there go too: keeping the positives alone would make the rate 1.
    labels.loc[remaining < WEEK, "tagged"] = np.nan
  return labels


def _canonical_genres(text: str) -> str:
  """ "Drama|Children's" as "Children|Drama": sorted, one spelling, nothing for no genre."""
  return "|".join(sorted(set(text.replace("Children's", "Children").split("|")) - _NO_GENRE))


def _read_folder(folder: Path) -> dict[str, pd.DataFrame]:
  """The tables of a folder: ratings, movies, and users and tags if its layout has them."""
  files = _find_files(folder)
  tables = {table: _read_table(folder / file.name, file) for table, file in files.items()}
  movies = tables["movies"]
  if "genres" not in movies:
    flags = movies[_GENRE_FLAGS].to_numpy()
    movies["genres"] = ["|".join(itertools.compress(_GENRE_FLAGS, row)) for row in flags]
  return tables


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


def _read_table(path: Path, file: _File) -> pd.DataFrame:
  """The columns of a file, numbers checked and text as it is."""
  named = file.separator == ","
  options: dict[str, Any] = {"encoding": "utf-8-sig"}
  if not named:  # latin-1 takes any byte, and all that is used of the text is ASCII
    options = {"encoding": "latin-1", "header": None, "quoting": csv.QUOTE_NONE}
  try:
    source: Path | io.StringIO = path
    if file.separator == "::":  # the fast parser takes one character only
      source = io.StringIO(path.read_text("latin-1").replace("::", "\t"))
    separator = "\t" if file.separator == "::" else file.separator
    table = pd.read_csv(source, sep=separator, keep_default_na=False, low_memory=False, **options)
  except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
    reason = " ".join(str(error).split())
    raise DataError(f"{path}: not a table ({reason}); unpack the archive again") from error
  if not named and table.shape[1] == len(file.columns):
    table.columns = pd.Index(file.columns)
  missing = [column for column in file.columns if column not in table]
  if missing:
    got = ", ".join(table.columns) if named else f"{table.shape[1]} of {len(file.columns)} columns"
    raise DataError(f"{path}: no column {missing[0]!r}, got {got}; unpack the archive again")
  if table.empty:
    raise DataError(f"{path}: a header and no rows; unpack the archive again")
  for column in file.columns:
    if column in _LIMITS:
      table[column] = _numbers(table[column], path)
  return table[file.columns]


def _numbers(column: pd.Series, path: Path) -> pd.Series:
  """A column as float64 (rating) or int64 (all others), or a DataError for its first bad value."""
  whole = column.name != "rating"
  low, high = _LIMITS[str(column.name)]
  values = pd.to_numeric(column, errors="coerce")
  bad = ~values.between(low, high) | (whole & (values % 1 != 0))
  if bad.any():
    row = int(bad.to_numpy().argmax())
    raise DataError(
      f"{path}: row {row + 1} has {column.name} {str(column.iloc[row])!r}, not a "
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


def _gather_examples(batches: Iterator[dict[str, Array]]) -> dict[str, pd.DataFrame]:
  """The tables that TFDS joined: each film and user is kept once, so that millions of rows fit."""
  parts: dict[str, list[pd.DataFrame]] = {"ratings": [], "movies": [], "users": []}
  for batch in batches:
    table = pd.DataFrame(batch).rename(columns=_TFDS_COLUMNS)
    parts["ratings"].append(table[_RATINGS])
    parts["movies"].append(table[_MOVIES].drop_duplicates("movieId"))
    if "gender" in table:
      parts["users"].append(table[_PERSON].drop_duplicates("userId"))
  tables = {name: pd.concat(part, ignore_index=True) for name, part in parts.items() if part}
  for text in ("title", "genres"):
    tables["movies"][text] = tables["movies"][text].str.decode("utf-8")
  if "users" in tables:
    tables["users"]["gender"] = np.where(tables["users"].gender, "M", "F")
    tables["users"]["occupation"] = tables["users"].occupation.str.decode("utf-8")
  return tables
