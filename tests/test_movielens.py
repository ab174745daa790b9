"""MovieLens: every layout reads to the same log, labels by hand, boundaries, errors, real data."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranking.array import Array
from ranking.data.schema import DataError, Source, sha256
from ranking.data.sources import movielens
from ranking.data.sources.movielens import DAY, HOUR, WEEK, MovieLens
from tests.frames import FrameLog
from tests.whole_log import read_whole

START = 978_307_200  # Monday 2001-01-01 00:00:00 UTC
TITLES = [
  "Dawn (1999)",
  "Café – Night (1964) (V)",
  "Series (2006–2007)",
  "Untitled",
  "Star: Two (2001)",
]
GENRES = ["Drama|Children", "", "Comedy", "Sci-Fi", "Comedy|Drama"]
USERS = pd.DataFrame(
  {
    "user": [1, 2, 3, 4],
    "gender": ["M", "F", "F", "M"],
    "age": [25, 1, 56, 45],
    "occupation": ["writer", "other", "artist", "none"],
  }
)


@dataclasses.dataclass
class Tables:
  """Generated data: ratings (user, movie, rating, time) and tags (user, movie, tag, time)."""

  ratings: pd.DataFrame
  tags: pd.DataFrame


def table(*rows: tuple[float, ...]) -> pd.DataFrame:
  """Ratings from (user, movie, rating, seconds after START) by hand."""
  frame = pd.DataFrame(rows, columns=["user", "movie", "rating", "time"])
  return frame.astype({"user": int, "movie": int, "time": int}).assign(
    time=lambda t: t.time + START
  )


def no_tags() -> pd.DataFrame:
  return pd.DataFrame({"user": [4], "movie": [9], "tag": ["seen, twice"], "time": [START]})


@pytest.fixture
def generated() -> Tables:
  random = np.random.default_rng(7)
  size = 160
  ratings = pd.DataFrame(
    {
      "user": random.integers(1, 5, size),
      "movie": random.integers(1, 6, size),
      "rating": random.integers(1, 6, size),
      # A few seconds apart on twenty days, so that ties and whole days of silence both occur.
      "time": START + random.integers(0, 20, size) * 2 * DAY + random.integers(0, 60, size),
    }
  ).drop_duplicates(["user", "movie", "time"])
  tags = ratings.iloc[::9][["user", "movie", "time"]].assign(tag="dark: slow")
  tags["time"] += 60
  return Tables(ratings, tags[["user", "movie", "tag", "time"]])


def write_csv(folder: Path, data: Tables) -> Path:
  folder.mkdir(exist_ok=True)
  ratings = data.ratings.set_axis(["userId", "movieId", "rating", "timestamp"], axis=1)
  ratings.to_csv(folder / "ratings.csv", index=False)
  movies = pd.DataFrame({"movieId": range(1, 6), "title": TITLES, "genres": GENRES})
  movies = movies.replace({"genres": {"": "(no genres listed)"}})
  movies.to_csv(folder / "movies.csv", index=False, encoding="utf-8")
  tags = data.tags.set_axis(["userId", "movieId", "tag", "timestamp"], axis=1)
  tags.to_csv(folder / "tags.csv", index=False)
  return folder


def write_dat(folder: Path, data: Tables, size: str) -> Path:
  """ml-1m has users.dat, ml-10m tags.dat; the dash of TITLES is not in latin-1 and becomes "-"."""
  folder.mkdir(exist_ok=True)
  movies = pd.DataFrame({"movie": range(1, 6), "title": TITLES, "genres": GENRES})
  movies.genres = movies.genres.str.replace("Children", "Children's")
  files = {"ratings": data.ratings, "movies": movies}
  files["users" if size == "1m" else "tags"] = (
    USERS.assign(zip="00000") if size == "1m" else data.tags
  )
  for name, frame in files.items():
    write_lines(folder / f"{name}.dat", frame, "::")
  return folder


def write_100k(folder: Path, data: Tables) -> Path:
  folder.mkdir(exist_ok=True)
  write_lines(folder / "u.data", data.ratings, "\t")
  movies = pd.DataFrame({"movie": range(1, 6), "title": TITLES, "date": "", "video": "", "url": ""})
  for genre in movielens._GENRE_FLAGS:
    plain = genre.replace("Children's", "Children")
    movies[genre] = [int(plain in (genres or "unknown").split("|")) for genres in GENRES]
  write_lines(folder / "u.item", movies, "|")
  exact_age = {25: 34, 1: 7, 56: 73, 45: 49}  # years that fall into the age groups of USERS
  users = USERS.assign(age=USERS.age.map(exact_age), zip="00000")
  write_lines(folder / "u.user", users[["user", "age", "gender", "occupation", "zip"]], "|")
  return folder


def write_lines(path: Path, frame: pd.DataFrame, separator: str) -> None:
  lines = [separator.join(map(str, row)) + "\n" for row in frame.itertuples(index=False)]
  path.write_text("".join(lines).replace("–", "-"), encoding="latin-1")


def assert_same(one: FrameLog, other: FrameLog, labels_but: str = "") -> None:
  np.testing.assert_array_equal(one.time, other.time)
  np.testing.assert_array_equal(one.day, other.day)
  assert one.day_names == other.day_names
  common = [column for column in one.categorical if column in other.categorical]
  assert len(common) >= 6
  pd.testing.assert_frame_equal(
    one.categorical[common], other.categorical[common], check_dtype=False
  )
  pd.testing.assert_frame_equal(one.dense, other.dense)
  kept = [task.name for task in one.tasks if task.name != labels_but]
  pd.testing.assert_frame_equal(one.labels[kept], other.labels[kept])
  assert one.bags["genres"].lists == other.bags["genres"].lists
  np.testing.assert_array_equal(one.bags["genres"].index, other.bags["genres"].index)


def read(
  folder: Path, ratings: pd.DataFrame, tags: pd.DataFrame | None = None, slices: int = 2
) -> FrameLog:
  """The log of a few ratings, through the CSV layout."""
  data = Tables(ratings, no_tags() if tags is None else tags)
  return read_whole(MovieLens(raw=str(write_csv(folder, data)), slices=slices))


def test_every_layout_reads_the_same_ratings_to_the_same_log(
  tmp_path: Path, generated: Tables
) -> None:
  by_csv = read_whole(MovieLens(raw=str(write_csv(tmp_path / "csv", generated))))
  by_1m = read_whole(MovieLens(raw=str(write_dat(tmp_path / "1m", generated, "1m"))))
  by_10m = read_whole(MovieLens(raw=str(write_dat(tmp_path / "10m", generated, "10m"))))
  by_100k = read_whole(MovieLens(raw=str(write_100k(tmp_path / "100k", generated))))
  assert_same(by_csv, by_10m)
  assert_same(by_csv, by_1m, labels_but="tagged")
  assert_same(by_1m, by_100k)
  assert by_csv.labels.tagged.sum() > 0
  assert by_1m.labels.tagged.isna().all()
  assert by_100k.labels.tagged.isna().all()
  assert by_csv.cleaning == by_10m.cleaning
  assert by_1m.cleaning == by_100k.cleaning == {**by_csv.cleaning, "users_not_listed": 0}


def test_the_log_keeps_the_contract_of_a_source(tmp_path: Path, generated: Tables) -> None:
  source: Source = MovieLens(raw=str(write_csv(tmp_path, generated)))
  log = read_whole(source)
  size = len(generated.ratings)
  assert source.name == "movielens"
  assert log.time.dtype == np.int64
  assert log.day.dtype == np.int32
  np.testing.assert_array_equal(log.time, np.sort(generated.ratings.time) * 1000)
  assert (np.diff(log.day) >= 0).all()
  assert set(log.day) == set(range(14))
  assert len(log.day_names) == 14
  assert log.day_names[0] == "slice-01_2001-01-01"
  assert log.time_zone == "UTC"
  assert list(log.labels) == [task.name for task in log.tasks]
  assert [task.kind for task in log.tasks] == ["binary"] * 4 + ["regression"] * 2
  assert set(log.labels.dtypes) == {np.dtype(np.float32)}
  assert len(log.categorical) == len(log.dense) == len(log.labels) == size
  assert set(log.entities) <= set(log.categorical)
  assert set(log.rated_tasks) <= set(log.labels)
  assert len(set(map(tuple, log.bags["genres"].lists))) == len(log.bags["genres"].lists)


def test_rating_labels_follow_their_thresholds(tmp_path: Path) -> None:
  stars = [0.5, 2, 2.5, 3.5, 4, 4.5, 5]
  log = read(tmp_path, table(*[(1, 1, star, at) for at, star in enumerate(stars)]))
  np.testing.assert_array_equal(log.labels.disliked, [1, 1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(log.labels.liked, [0, 0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(log.labels.loved, [0, 0, 0, 0, 0, 1, 1])
  np.testing.assert_array_equal(log.labels.rating, stars)


def test_seconds_to_next_are_clipped_at_a_day_and_missing_only_where_the_log_ends_too_soon(
  tmp_path: Path,
) -> None:
  log = read(
    tmp_path,
    table(
      (1, 1, 3, 0),  # the same second as the next: 0
      (1, 2, 3, 0),  # 100 seconds later
      (1, 3, 3, 100),  # two days later: the clip
      (2, 1, 3, 200),  # never again, and the log goes on for more than a day: the clip
      (1, 4, 3, 100 + 2 * DAY),  # unknown: the log ends 50 seconds later
      (3, 1, 3, 150 + 2 * DAY),  # unknown: the last row
    ),
  )
  seconds = np.array([0, 100, DAY, DAY, np.nan, np.nan])
  np.testing.assert_allclose(log.labels.log_seconds_to_next, np.log1p(seconds), rtol=1e-6)


def test_tagged_counts_a_visit_before_to_seven_days_after_and_is_missing_in_the_last_week(
  tmp_path: Path,
) -> None:
  delays = {1: 0, 2: WEEK, 3: WEEK + 1, 4: -HOUR, 5: -HOUR - 1}
  rows = [(1, movie, 3, 2 * DAY) for movie in delays]
  last = [(2, 1, 3, 3 * WEEK), (2, 2, 3, 3 * WEEK + 1), (3, 1, 3, 4 * WEEK)]
  tags = [(1, movie, "tag", START + 2 * DAY + delay) for movie, delay in delays.items()]
  tags += [(1, 1, "again", START + 2 * DAY + 5)]  # a second tag changes nothing
  tags += [(2, 2, "late", START + 3 * WEEK + 2), (3, 5, "unrated", START + 9 * DAY)]
  frame = pd.DataFrame(tags, columns=["user", "movie", "tag", "time"])
  log = read(tmp_path, table(*rows, *last), frame)
  # The last but one was tagged, but its week is not over when the log ends.
  np.testing.assert_array_equal(log.labels.tagged, [1, 1, 0, 1, 0, 0, np.nan, np.nan])


def test_tagged_is_missing_everywhere_without_a_tags_file(
  tmp_path: Path, generated: Tables
) -> None:
  write_csv(tmp_path, generated)
  (tmp_path / "tags.csv").unlink()
  source = MovieLens(raw=str(tmp_path))
  assert read_whole(source).labels.tagged.isna().all()
  assert list(source.identity()["files"]) == ["ratings.csv", "movies.csv"]


def test_features_of_a_row_by_hand(tmp_path: Path) -> None:
  log = read(
    tmp_path,
    table(
      (1, 1, 3, 0),
      (1, 2, 3, 0),  # tied with the user's first rating: nothing came strictly earlier
      (2, 1, 3, 10),
      (1, 3, 3, HOUR),
      (1, 4, 3, HOUR),  # tied: the same gap, not 0
      (1, 5, 3, HOUR + 9),
      (2, 9, 3, DAY),  # a film that movies.csv does not list
    ),
  )
  seconds = np.array([np.nan, np.nan, np.nan, HOUR, HOUR, 9, DAY - 10])
  np.testing.assert_allclose(log.dense.log_seconds_since_previous, np.log1p(seconds))
  np.testing.assert_array_equal(log.categorical.hour, [0, 0, 0, 1, 1, 1, 0])
  np.testing.assert_array_equal(log.categorical.day_of_week, [0, 0, 0, 0, 0, 0, 1])
  years = np.array([1999, 1964, 1999, 2006, np.nan, 2001, np.nan])
  np.testing.assert_array_equal(log.categorical.release_year, years)
  np.testing.assert_array_equal(log.categorical.release_decade[[0, 1, 3]], [1990, 1960, 2000])
  age = np.maximum(2001 - years, 0)  # the film of 2006 is rated before its year
  np.testing.assert_allclose(np.expm1(log.dense.log_movie_age_years), age, atol=0.01)
  genres = [log.bags["genres"].lists[index] for index in log.bags["genres"].index]
  assert genres[:4] == [["Children", "Drama"], [], ["Children", "Drama"], ["Comedy"]]
  assert genres[6] == []
  assert log.cleaning == {
    "duplicate_rows": 0,
    "movies_not_listed": 1,
    "movies_without_year": 2,
    "movies_without_genres": 2,
  }


def test_people_of_100k_get_the_age_groups_of_1m(tmp_path: Path, generated: Tables) -> None:
  log = read_whole(MovieLens(raw=str(write_100k(tmp_path, generated))))
  people = log.categorical.groupby("user_id")[["gender", "age", "occupation"]].first()
  expected = USERS.set_index("user")[["gender", "age", "occupation"]]
  pd.testing.assert_frame_equal(people, expected, check_dtype=False, check_names=False)


def test_full_row_duplicates_are_dropped_and_counted(tmp_path: Path, generated: Tables) -> None:
  once = read(tmp_path / "once", generated.ratings, slices=14)
  doubled = pd.concat([generated.ratings, generated.ratings.iloc[:17]])
  twice = read(tmp_path / "twice", doubled, slices=14)
  assert_same(once, twice)
  assert once.cleaning["duplicate_rows"] == 0
  assert twice.cleaning["duplicate_rows"] == 17


def test_a_boundary_moves_on_to_the_next_change_of_timestamp(tmp_path: Path) -> None:
  times = [0, 1, 2, 3, 3, 3, 3, 4, 5, 6]
  log = read(tmp_path, table(*[(1, row % 5 + 1, 3, at) for row, at in enumerate(times)]))
  np.testing.assert_array_equal(log.day, [0] * 7 + [1] * 3)  # half of ten would be five


def test_every_slice_is_strictly_later_than_the_slices_before(
  tmp_path: Path, generated: Tables
) -> None:
  log = read(tmp_path, generated.ratings, slices=14)
  for day in range(1, 14):
    assert log.time[log.day < day].max() < log.time[log.day == day].min()
  evaluated = (log.day == 13).mean()
  assert 0 < evaluated <= 1 / 14 + 1 / len(log.day)


def test_the_ratings_to_come_change_no_earlier_row(tmp_path: Path, generated: Tables) -> None:
  ratings = generated.ratings.sort_values("time", kind="stable", ignore_index=True)
  altered = ratings.copy()
  last = altered.time >= altered.time.iloc[-12]
  altered.loc[last, "rating"] = 6 - altered.rating[last]
  before = read(tmp_path / "before", ratings, generated.tags, slices=14)
  after = read(tmp_path / "after", altered, generated.tags, slices=14)
  of_rating = ["liked", "loved", "disliked", "rating"]
  np.testing.assert_array_equal(before.day, after.day)
  pd.testing.assert_frame_equal(before.categorical, after.categorical)
  pd.testing.assert_frame_equal(before.dense, after.dense)
  pd.testing.assert_frame_equal(
    before.labels.drop(columns=of_rating), after.labels.drop(columns=of_rating)
  )
  kept = len(ratings) - int(last.sum())
  pd.testing.assert_frame_equal(before.labels.iloc[:kept], after.labels.iloc[:kept])
  assert not before.labels.rating.iloc[kept:].equals(after.labels.rating.iloc[kept:])


def test_rows_to_come_change_no_earlier_feature(tmp_path: Path, generated: Tables) -> None:
  ratings = generated.ratings.sort_values("time", kind="stable", ignore_index=True)
  end = ratings.time.iloc[80]
  past = ratings[ratings.time <= end]
  whole = read(tmp_path / "whole", ratings)
  part = read(tmp_path / "part", past)
  pd.testing.assert_frame_equal(whole.categorical.iloc[: len(past)], part.categorical)
  pd.testing.assert_frame_equal(whole.dense.iloc[: len(past)], part.dense)


def test_the_order_of_the_files_does_not_matter(tmp_path: Path, generated: Tables) -> None:
  shuffled = generated.ratings.sample(frac=1, random_state=3)
  assert_same(
    read(tmp_path / "a", generated.ratings, slices=14), read(tmp_path / "b", shuffled, slices=14)
  )


def test_identity_names_every_file_by_its_content(tmp_path: Path, generated: Tables) -> None:
  folder = write_dat(tmp_path, generated, "1m")
  names = ["ratings.dat", "movies.dat", "users.dat"]
  files = {name: sha256(folder / name) for name in names}
  expected = {"slices": 7, "files": files}
  assert MovieLens(raw=str(folder), slices=7).identity() == expected


def tfds_batches(data: Tables, people: bool = True) -> list[dict[str, Array]]:
  """What TFDS yields for the data: joined examples as bytes, out of order, in uneven batches."""
  joined = data.ratings.sample(frac=1, random_state=5).merge(USERS, on="user")
  names = [genres or "(no genres listed)" for genres in GENRES]
  columns = {
    "user_id": joined.user.to_numpy(np.int64),
    "movie_id": joined.movie.to_numpy(np.int64),
    "user_rating": joined.rating.to_numpy(np.float32),
    "timestamp": joined.time.to_numpy(np.int64),
    "movie_title": np.array([TITLES[movie - 1].encode() for movie in joined.movie], object),
    "movie_genres": np.array([names[movie - 1].encode() for movie in joined.movie], object),
  }
  if people:
    columns["user_gender"] = (joined.gender == "M").to_numpy()
    columns["bucketized_user_age"] = joined.age.to_numpy(np.float32)
    columns["user_occupation_text"] = np.array([job.encode() for job in joined.occupation], object)
  return [
    {key: column[rows] for key, column in columns.items()} for rows in (slice(50), slice(50, None))
  ]


def test_tfds_examples_read_to_the_same_log_as_the_folder(
  tmp_path: Path, generated: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
  asked = []

  def examples(version: str) -> list[dict[str, Array]]:
    asked.append(version)
    return tfds_batches(generated)

  monkeypatch.setattr(movielens, "_tfds_examples", examples)
  log = read_whole(MovieLens(version="100k"))
  folder = read_whole(MovieLens(raw=str(write_100k(tmp_path, generated))))
  assert asked == ["100k"]
  assert_same(log, folder)
  assert list(log.categorical) == list(folder.categorical)
  assert log.cleaning == folder.cleaning
  assert log.labels.tagged.isna().all()


def test_tfds_versions_without_people_have_no_features_of_people(
  generated: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
  batches = tfds_batches(generated, people=False)
  monkeypatch.setattr(movielens, "_tfds_examples", lambda version: batches)
  assert "gender" not in read_whole(MovieLens()).categorical


def test_tfds_identity_holds_the_name_and_version_of_the_dataset(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  class Builder:
    version = "0.1.1"

  monkeypatch.setattr(movielens, "_tfds_builder", lambda version: Builder())
  assert MovieLens(version="25m").identity() == {
    "slices": 14,
    "tfds": "movielens/25m-ratings",
    "tfds_version": "0.1.1",
  }


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    (
      "ratings.csv",
      "",
      "ratings.csv: not a table (No columns to parse from file); unpack the arch",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n",
      "ratings.csv: a header and no rows; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,stars,timestamp\n1,1,3,978307200\n",
      "ratings.csv: no column 'rating', got userId, movieId, stars, timestamp; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1,1,3,978307200\n1,2,good,978307200\n",
      "ratings.csv: row 2 has rating 'good', not a number from 0.5 to 5; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1,1,,978307200\n",
      "ratings.csv: row 1 has rating '', not a number from 0.5 to 5; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1,1,7,978307200\n",
      "ratings.csv: row 1 has rating '7', not a number from 0.5 to 5; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1,1,3,978307200000\n",
      "ratings.csv: row 1 has timestamp '978307200000', not a whole number from 1 to 4294967296;",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1.5,1,3,978307200\n",
      "ratings.csv: row 1 has userId '1.5', not a whole number from 0 to 9007199254740992; unpack",
    ),
    (
      "ratings.csv",
      "userId,movieId,rating,timestamp\n1,1,3,978307200\n1,2,3,978307200,9\n",
      "ratings.csv: not a table (Error tokenizing data. C error: Expected 4 fields in line 3, saw",
    ),
    (
      "tags.csv",
      "userId,movieId,tag,timestamp\n1,1,seen,yesterday\n",
      "tags.csv: row 1 has timestamp 'yesterday', not a whole number from 1 to 4294967296; unpack",
    ),
    (
      "movies.csv",
      "movieId,title\n1,Dawn\n",
      "movies.csv: no column 'genres', got movieId, title; unp",
    ),
  ],
)
def test_a_bad_csv_file_is_named_with_what_it_holds(
  tmp_path: Path, generated: Tables, name: str, content: str, message: str
) -> None:
  write_csv(tmp_path, generated)
  (tmp_path / name).write_text(content)
  with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}/{re.escape(message)}") as error:
    read_whole(MovieLens(raw=str(tmp_path)))
  assert "\n" not in str(error.value)


def test_a_csv_file_that_is_not_utf_8_is_named(tmp_path: Path, generated: Tables) -> None:
  write_csv(tmp_path, generated)
  (tmp_path / "movies.csv").write_bytes("movieId,title,genres\n1,Café,Drama\n".encode("latin-1"))
  with pytest.raises(
    DataError, match=r"movies\.csv: not a table \('utf-8' codec can't decode byte"
  ):
    read_whole(MovieLens(raw=str(tmp_path)))


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("u.data", "1\t1\t3\n", "u.data: no column 'userId', got 3 of 4 columns; unpack"),
    ("u.data", "1\t1\tx\t9\n", "u.data: row 1 has rating 'x', not a number from 0.5 to 5; unpack"),
    ("u.item", "1|Dawn\n", "u.item: no column 'movieId', got 2 of 24 columns; unpack"),
    (
      "u.user",
      "1|old|M|writer|0\n",
      "u.user: row 1 has age 'old', not a whole number from 0 to 150;",
    ),
    ("u.user", "", "u.user: not a table (No columns to parse from file); unpack the archive again"),
  ],
)
def test_a_bad_file_without_a_header_is_named_with_what_it_holds(
  tmp_path: Path, generated: Tables, name: str, content: str, message: str
) -> None:
  write_100k(tmp_path, generated)
  (tmp_path / name).write_text(content)
  with pytest.raises(DataError, match=re.escape(message)):
    read_whole(MovieLens(raw=str(tmp_path)))


def test_a_bad_line_of_a_dat_file_is_named_by_its_row(tmp_path: Path, generated: Tables) -> None:
  write_dat(tmp_path, generated, "1m")
  (tmp_path / "ratings.dat").write_text("1::1::3::978307200\n1::2::3::noon\n")
  with pytest.raises(
    DataError, match=r"ratings\.dat: row 2 has timestamp 'noon', not a whole number"
  ):
    read_whole(MovieLens(raw=str(tmp_path)))


@pytest.mark.parametrize(
  ("size", "missing"),
  [("csv", "movies.csv"), ("1m", "users.dat"), ("10m", "movies.dat"), ("100k", "u.item")],
)
def test_a_missing_file_is_named(
  tmp_path: Path, generated: Tables, size: str, missing: str
) -> None:
  writers = {"csv": write_csv, "100k": write_100k}
  if size in writers:
    writers[size](tmp_path, generated)
  else:
    write_dat(tmp_path, generated, size)
  (tmp_path / missing).unlink()
  message = re.escape(f"{tmp_path}/{missing}: file is missing; unpack the archive again")
  with pytest.raises(DataError, match=f"^{message}$"):
    read_whole(MovieLens(raw=str(tmp_path)))


def test_a_folder_of_something_else_is_refused_with_what_it_holds(tmp_path: Path) -> None:
  with pytest.raises(DataError, match=r"not an unpacked MovieLens folder \(no files\); set raw to"):
    read_whole(MovieLens(raw=str(tmp_path / "absent")))
  (tmp_path / "ml-1m").mkdir()
  with pytest.raises(
    DataError, match=r"\(ml-1m\); set raw to the folder that holds ratings\.csv, rat"
  ):
    MovieLens(raw=str(tmp_path)).identity()


def test_options_that_cannot_work_are_refused(tmp_path: Path) -> None:
  with pytest.raises(
    DataError, match=r"version is '10m'; make it 'latest-small', '100k', '1m', '20m' or '25m'"
  ):
    MovieLens(version="10m")
  with pytest.raises(DataError, match=r"slices is 1; make it a whole number from 2 to 10,000"):
    MovieLens(slices=1)
  rows = [(1, 1, 3, 0), (1, 2, 3, 0), (1, 3, 3, 5)]
  with pytest.raises(
    DataError, match=r"3 ratings at 2 different seconds cannot be cut into 3 slices; set"
  ):
    read(tmp_path, table(*rows), slices=3)


@pytest.fixture(scope="module")
def real() -> FrameLog:
  folder = Path(os.environ.get("RANKING_RAW_DATA", ""), "ml-latest-small")
  if "RANKING_RAW_DATA" not in os.environ or not folder.is_dir():
    pytest.skip("set RANKING_RAW_DATA to the folder that holds ml-latest-small")
  return read_whole(MovieLens(raw=str(folder)))


def test_latest_small_has_its_published_counts(real: FrameLog) -> None:
  assert len(real.time) == 100_836
  assert real.categorical.user_id.nunique() == 610
  assert real.categorical.movie_id.nunique() == 9_724
  assert real.cleaning == {
    "duplicate_rows": 0,
    "movies_not_listed": 0,
    "movies_without_year": 12,
    "movies_without_genres": 34,
  }


def test_latest_small_is_cut_into_slices_of_equal_count(real: FrameLog) -> None:
  rows = np.bincount(real.day)
  assert rows.max() - rows.min() <= 20
  assert real.time[real.day < 13].max() < real.time[real.day == 13].min()
  assert real.day_names[0] == "slice-01_1996-03-29"


def test_latest_small_has_labels_of_every_task(real: FrameLog) -> None:
  rates = real.labels.mean()
  expected = {
    "liked": 0.4818,
    "loved": 0.2158,
    "disliked": 0.1341,
    "tagged": 0.0047,
    "rating": 3.5016,
  }
  for task, rate in expected.items():
    assert rates[task] == pytest.approx(rate, abs=5e-5)
  # One week and one day before the end of the log.
  assert real.labels.isna().sum().to_dict() == {
    **dict.fromkeys(real.labels, 0),
    "tagged": 28,
    "log_seconds_to_next": 1,
  }
