"""What is stored of tiny logs is what it was, unless the version of a stage was raised.

The digests are in stored_features.json, with the versions that they were made with. After raising a
version, write them again:

    python -m tests.test_stored_features
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data import prepare as preparing
from ranking.data import store
from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.schema import Source
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.kuairec import KuaiRec
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.synthetic import Synthetic
from ranking.data.sources.table import Table
from ranking.data.store import DayStore
from tests import test_kuairand, test_kuairec, test_movielens
from tests.conftest import TinySource, make_log

GOLDEN = Path(__file__).with_name("stored_features.json")
COMMAND = "python -m tests.test_stored_features"
SOURCES = (Synthetic, KuaiRand, KuaiRec, MovieLens, Table)
STAGES = {"prepare": preparing, "store": store}
SMALL = {"days": 3, "rows_per_day": 200, "num_users": 30, "num_videos": 50}
LATE = Lookback(feedback_delay_hours=5.0, history=3)

Digests = Mapping[str, Mapping[str, Any]]


def versions() -> dict[str, int]:
  """The version of each stage under the name by which it is raised."""
  return {
    **{f"{source.__name__}.log_version": source.log_version for source in SOURCES},
    **{f"{name}.VERSION": stage.VERSION for name, stage in STAGES.items()},
  }


def logs(folder: Path) -> dict[str, tuple[Source, Lookback]]:
  """Tiny logs by name: one without a format of its own, and of each source; `folder` holds them."""
  turned = Synthetic(
    **SMALL,
    shift_on_day=2,
    shift_size=0.5,
    new_videos_share=0.3,
    tail=2.0,
    label_noise=0.1,
    bad_batches=0.5,
    num_noise_features=2,
    num_extra_tasks=1,
  )
  return {
    "tiny": (TinySource(make_log()), Lookback()),
    "tiny, labels 5 hours late, 3 items": (TinySource(make_log()), LATE),
    "Synthetic": (Synthetic(**SMALL), Lookback()),
    "Synthetic, every dial turned": (turned, LATE),
    "KuaiRand": (KuaiRand(raw=str(kuairand_folder(folder / "kuairand"))), LATE),
    "KuaiRec": (KuaiRec(raw=str(kuairec_folder(folder / "kuairec"))), LATE),
    "MovieLens": (MovieLens(raw=str(movielens_folder(folder / "movielens")), slices=4), LATE),
    "Table": (table(folder / "table.csv"), LATE),
  }


def kuairand_folder(folder: Path) -> Path:
  """96 impressions of three days, 4 users and 6 videos."""
  lines = [
    test_kuairand.impression(
      user_id=1 + k % 4,
      video_id=10 + k % 6,
      time_ms=test_kuairand.MAY_7 + (k // 32) * test_kuairand.MS_PER_DAY + k % 32 * 777_000,
      is_click=int(k % 3 == 0),
      is_like=int(k % 7 == 0),
      is_follow=int(k % 11 == 0),
      long_view=int(k % 5 == 0),
      play_time_ms=977 * (k % 13),
      duration_ms=4000 * (k % 6),
      tab=k % 3,
    )
    for k in range(96)
  ]
  users = [
    test_kuairand.user(user_id=1 + k, fans_user_num=10**k, onehot_feat3=k % 2) for k in range(4)
  ]
  videos = [
    test_kuairand.video(
      video_id=10 + k,
      author_id=100 + k % 2,
      tag="39,7" if k % 2 else "12",
      server_width=700.0 + 10 * k,
      upload_dt=f"2022-05-0{1 + k}",
    )
    for k in range(6)
  ]
  return test_kuairand.write(folder, *lines, users=tuple(users), videos=tuple(videos))


def kuairec_folder(folder: Path) -> Path:
  """96 views of four days, 3 users and 6 videos."""
  lines = [
    test_kuairec.view(
      test_kuairec.JULY_6 + (24 * (k // 24) + k % 24) * test_kuairec.HOUR + k % 7,
      user_id=1 + k % 3,
      video_id=k % 6,
      play_duration=997 * (k % 17),
      video_duration=3000 * (k % 6),
    )
    for k in range(96)
  ]
  users = [test_kuairec.user(user_id=1 + k, follow_user_num=10**k) for k in range(2)]
  daily = [
    test_kuairec.totals(
      20200706 + day,
      video_id=video,
      author_id=100 + video % 2,
      like_cnt=day * video,
      play_cnt=50 + 10 * video,
    )
    for day in range(3)
    for video in range(5)
  ]
  tags = "".join(f'{video},"[{video}, 8]"\n' for video in range(5))
  captions = f"2,UNKNOWN,hello,[],8,颜值,673,颜值随拍,{test_kuairec.UNKNOWN}\n"
  return test_kuairec.write(
    folder, *lines, users=tuple(users), tags=tags, captions=captions, daily=tuple(daily)
  )


def movielens_folder(folder: Path) -> Path:
  """80 ratings of forty days, 4 users and 5 films."""
  ratings = [(1 + k % 4, 1 + k % 5, 1 + (k * 3) % 5, k * 43_210.0) for k in range(80)]
  tables = test_movielens.Tables(test_movielens.table(*ratings), test_movielens.no_tags())
  return test_movielens.write_csv(folder, tables)


def table(path: Path) -> Table:
  """90 rows of three days in a CSV file with columns of every role."""
  k = np.arange(90)
  frame = pd.DataFrame(
    {
      "at": 1_772_000_000 + k * 2_880,
      "who": [f"u{n % 7}" for n in k],
      "what": k % 11,
      "tags": [",".join(f"t{n}" for n in range(m % 4)) for m in k],
      "length": k % 9 / 4,
      "price": k % 13 * 1.5,
      "bought": (k % 4 == 0).astype(int),
      "stars": [n % 5 if n % 3 else None for n in k],
    }
  )
  frame.to_csv(path, index=False)
  return Table(
    raw=str(path),
    time="at",
    time_unit="s",
    time_zone="Europe/Berlin",
    categorical=("who", "what"),
    bags=("tags",),
    dense=("length",),
    log_dense=("price",),
    binary=("bought",),
    regression=("stars",),
    entities=("who", "what"),
    rated_tasks=("bought", "stars"),
    report_by="what",
  )


def digests() -> Digests:
  """Per log: of each array the CRC of each day, and a digest of the schema."""
  with tempfile.TemporaryDirectory() as folder:
    return {
      name: digest(prepare(source, Path(folder, "store", name), lookback=lookback))
      for name, (source, lookback) in logs(Path(folder)).items()
    }


def digest(made: DayStore) -> dict[str, Any]:
  """Of one store."""
  days = [
    json.loads((made.directory / day / "manifest.json").read_text())["crc32"]
    for day in made.schema.day_names
  ]
  # The last digits of a mean depend on the processor.
  schema = json.dumps(made.schema.to_json(), sort_keys=True, default=str)
  schema = json.dumps(json.loads(schema, parse_float=lambda text: f"{float(text):.6g}"))
  return {
    **{name: " ".join(f"{day[name]:08x}" for day in days) for name in store.ARRAYS},
    "schema": hashlib.sha256(schema.encode()).hexdigest()[:16],
  }


def complaint(golden: Mapping[str, Any], found: Digests, now: Mapping[str, int]) -> str | None:
  """What is wrong with the stored features, and the cure; None if nothing is."""
  changed = {
    name: [key for key, value in found[name].items() if value != expected.get(key)]
    for name, expected in golden["digests"].items()
    if name in found and found[name] != expected
  }
  if changed and now == golden["versions"]:
    of_source = {name.partition(",")[0] for name in changed}
    stages = [name for name in now if name.partition(".")[0] in of_source]
    if len(of_source) > 1 or not stages:  # one that all logs pass through
      stages = [f"{name}.VERSION" for name in STAGES]
    what = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in changed.items())
    return (
      f"stored features changed ({what}) but no version did: undo it, or raise "
      f"{' or '.join(stages)}, whichever changed, and write the new digests by running {COMMAND}"
    )
  if found != golden["digests"] or now != golden["versions"]:
    return f"{GOLDEN.name} is older than the versions; write the digests by running {COMMAND}"
  return None


def test_stored_features_are_what_they_were_unless_a_version_was_raised() -> None:
  wrong = complaint(json.loads(GOLDEN.read_text()), digests(), versions())
  assert wrong is None, wrong


@pytest.mark.parametrize(
  ("changed", "named"),
  [
    (["KuaiRec"], "raise KuaiRec.log_version, whichever changed"),
    (["Synthetic, every dial turned"], "raise Synthetic.log_version, whichever changed"),
    (["tiny"], "raise prepare.VERSION or store.VERSION, whichever changed"),
    (["KuaiRec", "Table"], "raise prepare.VERSION or"),
  ],
)
def test_the_version_to_raise_is_named(changed: list[str], named: str) -> None:
  golden = json.loads(GOLDEN.read_text())
  found = {
    name: {**value, "bags": "other"} if name in changed else value
    for name, value in golden["digests"].items()
  }
  wrong = complaint(golden, found, golden["versions"])
  assert wrong is not None
  assert named in wrong
  assert wrong.endswith(f"by running {COMMAND}")
  raised = {**golden["versions"], "prepare.VERSION": 99}
  assert complaint(golden, found, raised) == (
    f"stored_features.json is older than the versions; write the digests by running {COMMAND}"
  )


def main() -> int:
  """Writes the digests; exit code 1 where they changed and no version was raised."""
  found, now = digests(), versions()
  if GOLDEN.is_file():
    wrong = complaint(json.loads(GOLDEN.read_text()), found, now)
    if wrong and "no version did" in wrong:
      print(f"error: {wrong}", file=sys.stderr)
      return 1
  GOLDEN.write_text(json.dumps({"versions": now, "digests": found}, indent=1) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
