"""A tiny log that has one of everything, a source that returns it, and its prepared store."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pandas as pd
import pytest

from ranking.data import prepare, store
from ranking.data.engine import Engine
from ranking.data.schema import Log
from ranking.tasks import Task
from tests.frames import Bag, FrameLog, declare

DAY_NAMES = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
ROWS_PER_DAY = (70, 50, 60, 40)
MS_PER_DAY = 86_400_000
# Of the synthetic log: compiling a step takes the longer, the more embeddings there are.
FEW_FEATURES = "Inputs.without_features={}".format(
  [
    *("author_id", "music_id", "tab", "hour", "day_of_week", "upload_type", "duration_bucket"),
    *("user_active_degree", "register_days_range"),
    *(f"onehot_feat{k}" for k in (0, 1, 2, 4, 7, 8)),
  ]
)
START = 19_783 * MS_PER_DAY  # 2024-03-01 00:00 UTC


def make_log(seed: int = 0) -> FrameLog:
  """220 rows of 4 days in UTC.

  Each column has a missing value, some events share a millisecond, ids of day N are rare or unseen
  in the training days, `likes` is a bag with an empty list, and labels are missing for each task.
  """
  random = np.random.default_rng(seed)
  size = sum(ROWS_PER_DAY)
  day = np.repeat(np.arange(len(DAY_NAMES)), ROWS_PER_DAY)
  # At 120 moments of a day, so that several rows tie.
  time = np.sort(START + day * MS_PER_DAY + random.integers(0, 120, size) * 720_000)

  def holes(values: Any, share: float = 0.1) -> Any:
    return np.where(random.random(size) < share, np.nan, values)

  user = random.zipf(1.6, size) % (20 + 10 * day)  # more users every day
  video = random.integers(0, 25, size)
  author = np.array([f"author {number}" if number else None for number in video % 6], object)
  likes: list[list[str]] = [[], ["cats"], ["cats", "dogs"], ["birds", "rocks", "tea"], ["rust"]]
  return FrameLog(
    time=time.astype(np.int64),
    day=day.astype(np.int32),
    day_names=DAY_NAMES,
    time_zone="UTC",
    categorical=pd.DataFrame(
      {
        "user_id": holes(user),
        "author_id": author,
        "hour": time // 3_600_000 % 24,
        "video_id": video,
      }
    ),
    bags={"likes": Bag(likes, random.choice(5, size, p=[0.3, 0.3, 0.2, 0.19, 0.01]))},
    dense=pd.DataFrame({"length": holes(random.normal(3, 2, size)), "age": random.random(size)}),
    labels=pd.DataFrame(
      {
        "click": holes(random.random(size) < 0.4),
        "like": holes(random.random(size) < 0.1, 0.3),
        "stars": holes(random.integers(1, 6, size), 0.2),
      }
    ).astype(np.float32),
    tasks=(Task("click", "binary"), Task("like", "binary"), Task("stars", "regression", 0.5)),
    entities=("user_id", "author_id"),
    rated_tasks=("click", "stars"),
    cleaning={"dropped: rows that were made up twice": 3},
  )


@dataclasses.dataclass
class TinySource:
  """Declares a log that is already there, and counts how often."""

  frames: FrameLog
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  reads: int = 0
  name: str = "tiny"
  log_version: int = 1

  def identity(self) -> dict[str, Any]:
    return self.options

  def log(self, engine: Engine) -> Log:
    self.reads += 1
    return declare(engine, self.frames)


@pytest.fixture(autouse=True)
def _seeded() -> None:
  """Weights start alike, whichever tests came before."""
  if "tf_keras" in sys.modules:  # which takes seconds to load
    sys.modules["tf_keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_log() -> FrameLog:
  """Shared by all tests: copy what you change."""
  return make_log()


@pytest.fixture
def tiny_source(tiny_log: FrameLog) -> TinySource:
  return TinySource(tiny_log)


@pytest.fixture
def tiny_store(tiny_source: TinySource, tmp_path: Path) -> store.DayStore:
  return prepare.prepare(tiny_source, tmp_path / "store")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
  """Runs a test in an empty folder, and leaves no binding of gin behind."""
  monkeypatch.chdir(tmp_path)
  yield
  gin.clear_config()
