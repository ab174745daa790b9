"""The synthetic log: its marginals against the public figures, its truth against its labels."""

import dataclasses
import datetime
import functools
import hashlib
import json
import math
import re
import tracemalloc
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ranking.array import Array
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources.synthetic import Synthetic, days, streams
from tests.frames import FrameLog
from tests.whole_log import read_whole

SMALL = Synthetic(days=3, rows_per_day=2_000, num_users=300, num_videos=500)
BINARY = ("click", "like", "share", "complete")


@functools.cache
def default_log() -> FrameLog:
  return read_whole(Synthetic())


def shares(column: Array) -> dict[int, float]:
  values, counts = np.unique(column, return_counts=True)
  return dict(zip(values.tolist(), (counts / counts.sum()).tolist(), strict=True))


def gini(counts: Array) -> float:
  """Of the ids that occur at all."""
  seen = np.sort(counts[counts > 0])
  rank = np.arange(1, len(seen) + 1)
  return float((2 * rank - len(seen) - 1) @ seen / (len(seen) * seen.sum()))


def assert_same_log(one: FrameLog, other: FrameLog) -> None:
  np.testing.assert_array_equal(one.time, other.time)
  assert list(one.bags) == list(other.bags)
  for name, bag in one.bags.items():
    np.testing.assert_array_equal(bag.index, other.bags[name].index)
    assert bag.lists == other.bags[name].lists
  assert (one.truth is None) == (other.truth is None)
  for table in ("categorical", "dense", "labels", *([] if one.truth is None else ["truth"])):
    pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), check_exact=True)


def digest(log: FrameLog) -> str:
  """Of all values. Rounded, because the last bit of exp and log differs between processors."""
  made = hashlib.sha256(json.dumps([*map(str, log.day_names)]).encode())
  lists = [",".join(map(str, entry)) for entry in log.bags["tags"].lists]
  made.update(" ".join(lists[place] for place in log.bags["tags"].index).encode())
  assert log.truth is not None
  for table in (log.categorical, log.dense, log.labels, log.truth):
    for name, column in table.items():
      made.update(str(name).encode())
      if column.dtype == object:
        made.update(" ".join(column).encode())
      else:
        made.update((np.round(column.to_numpy(np.float64), 6) + 0.0).tobytes())
  for numbers in (log.time, log.day):
    made.update(numbers.astype(np.int64).tobytes())
  return made.hexdigest()[:16]


def test_the_default_log_is_the_one_that_published_figures_were_measured_on():
  assert digest(default_log()) == "9f7a87ed75b4edac"
  assert digest(read_whole(SMALL)) == "a09bf7592ee9eaf4"


def test_same_seed_gives_the_same_log_bit_for_bit():
  assert_same_log(read_whole(SMALL), read_whole(SMALL))


def test_another_seed_gives_another_log():
  one, other = read_whole(SMALL), read_whole(dataclasses.replace(SMALL, seed=1))
  assert one.labels["click"].to_list()[:1000] != other.labels["click"].to_list()[:1000]
  assert (
    one.categorical["user_id"].to_list()[:1000] != other.categorical["user_id"].to_list()[:1000]
  )


def test_identity_names_every_option_and_is_json():
  identity = json.loads(json.dumps(Synthetic(seed=3).identity()))
  options = {field.name for field in dataclasses.fields(Synthetic)}
  assert set(identity) == options
  assert identity["seed"] == 3


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"days": 0}, "Synthetic.days is 0; make it a whole number from 1 to 10,000"),
    ({"days": 10**9}, "Synthetic.days is 1000000000; make it a whole number from 1 to 10,000"),
    ({"rows_per_day": 2.5}, "Synthetic.rows_per_day is 2.5; make it a whole number from 1 to"),
    (
      {"days": 10_000, "rows_per_day": 100_001},
      "Synthetic.days × rows_per_day is 10,000 × 100,001 rows; make it 1,000,000,000 rows at most",
    ),
    ({"seed": -1}, "Synthetic.seed is -1; make it a whole number, 0 or more"),
    ({"daily_drift": 1.5}, "Synthetic.daily_drift is 1.5; make it a number from 0 to 1"),
    ({"daily_drift": np.nan}, "Synthetic.daily_drift is nan; make it a number from 0 to 1"),
    ({"shift_on_day": 5, "shift_size": -1}, "Synthetic.shift_size is -1; make it a number from 0"),
    ({"shift_size": 0.5}, "Synthetic.shift_size is 0.5; set shift_on_day as well"),
    ({"shift_on_day": 8}, "Synthetic.shift_on_day is 8; set shift_size as well"),
    *(
      (
        {"shift_on_day": day, "shift_size": 1.0},
        f"Synthetic.shift_on_day is {day}; make it a whole number from 2 to 14",
      )
      for day in (15, 1, 2.5)
    ),
    ({"new_videos_share": 1.1}, "Synthetic.new_videos_share is 1.1; make it a number from 0 to 1"),
    ({"tail": 0}, "Synthetic.tail is 0; make it a number from 0.01 to 4"),
    ({"label_noise": 0.6}, "Synthetic.label_noise is 0.6; make it a number from 0 to 0.5"),
    ({"label_noise": "0.1"}, "Synthetic.label_noise is '0.1'; make it a number from 0 to 0.5"),
    ({"bad_batches": -0.1}, "Synthetic.bad_batches is -0.1; make it a number from 0 to 1"),
    ({"num_noise_features": -1}, "Synthetic.num_noise_features is -1; make it a whole number from"),
    ({"num_extra_tasks": 1.5}, "Synthetic.num_extra_tasks is 1.5; make it a whole number from 0"),
  ],
)
def test_an_impossible_option_is_an_error_that_names_it(options, message):
  with pytest.raises(DataError, match=re.escape(message)) as caught:
    Synthetic(**options)
  assert len(str(caught.value).splitlines()) == 1


def test_every_part_has_one_row_per_event_and_what_the_contract_asks_for():
  log = default_log()
  rows = len(log.time)
  tables = (log.categorical, log.dense, log.labels, log.truth)
  assert all(table is not None and len(table) == rows for table in tables)
  assert log.time.dtype == np.int64
  assert log.day.dtype == np.int32
  assert all(dtype == np.float32 for dtype in log.labels.dtypes)
  names = [task.name for task in log.tasks]
  assert names == [*BINARY, "log_watch_seconds", "satisfaction"]
  assert [task.kind for task in log.tasks] == ["binary"] * 4 + ["regression"] * 2
  assert list(log.labels) == list(log.truth) == names  # type: ignore[arg-type]
  assert {*log.entities} <= {*log.categorical}
  assert {*log.rated_tasks} <= {*names}
  assert log.bags["tags"].index.max() < len(log.bags["tags"].lists)


def test_every_row_lies_inside_its_shanghai_day_in_time_order():
  log = default_log()
  shanghai = zoneinfo.ZoneInfo(log.time_zone)
  assert (log.day_names[0], log.day_names[-1]) == ("2026-01-05", "2026-01-18")
  for day, name in enumerate(log.day_names):
    midnight = datetime.datetime.fromisoformat(name).replace(tzinfo=shanghai).timestamp() * 1000
    time = log.time[log.day == day]
    assert midnight <= time.min() <= time.max() < midnight + 86_400_000
  assert (np.diff(log.time) >= 0).all()
  local = pd.to_datetime(log.time, unit="ms", utc=True).tz_convert(shanghai)
  np.testing.assert_array_equal(local.hour, log.categorical["hour"])
  np.testing.assert_array_equal(local.dayofweek, log.categorical["day_of_week"])


@pytest.mark.parametrize("rows_per_day", [1, 700, 5_000])
def test_a_day_has_about_as_many_rows_as_asked(rows_per_day):
  rows = np.bincount(read_whole(dataclasses.replace(SMALL, rows_per_day=rows_per_day)).day)
  assert len(rows) == SMALL.days
  assert rows == pytest.approx(np.full(SMALL.days, rows_per_day), rel=0.12)


def test_more_rows_a_day_leave_users_and_videos_as_they_are():
  def videos(log: FrameLog) -> pd.DataFrame:
    columns = log.categorical[["video_id", "author_id", "music_id", "upload_type"]]
    return columns.drop_duplicates().set_index("video_id").sort_index()

  few, many = (
    videos(read_whole(SMALL)),
    videos(read_whole(dataclasses.replace(SMALL, rows_per_day=4_000))),
  )
  common = few.index.intersection(many.index)
  assert len(common) > 300
  pd.testing.assert_frame_equal(few.loc[common], many.loc[common])


# KuaiRand's figures, rows of 2022-04-25 to 05-08; shares are raised on purpose.
@pytest.mark.parametrize(
  ("task", "rate", "tolerance"),
  [
    ("click", 0.442, 0.02),
    ("like", 0.017, 0.003),
    ("share", 0.005, 0.002),
    ("complete", 0.14, 0.01),
  ],
)
def test_positive_rates_are_near_the_public_ones(task, rate, tolerance):
  assert default_log().labels[task].mean() == pytest.approx(rate, abs=tolerance)


def test_rows_spread_over_hours_as_in_public():
  by_hour = shares(default_log().categorical["hour"].to_numpy())
  public = [3.65, 2.28, 1.48, 0.94, 0.78, 0.98, 1.77, 2.66, 3.38, 4.02, 4.60, 5.15]
  public += [5.86, 5.59, 5.08, 5.24, 5.57, 5.99, 5.62, 5.47, 5.65, 6.06, 6.41, 5.78]
  assert [100 * by_hour[hour] for hour in range(24)] == pytest.approx(public, abs=0.4)


def test_tabs_have_their_shares_and_their_click_rates():
  log = default_log()
  by_tab = shares(log.categorical["tab"].to_numpy())
  clicks = log.labels["click"].groupby(log.categorical["tab"]).mean()
  public = {1: (173_008, 0.494), 0: (20_254, 0.086), 4: (13_647, 0.596), 6: (11_208, 0.149)}
  for tab, (rows, rate) in public.items():
    assert by_tab[tab] == pytest.approx(rows / 228_329, abs=0.01)
    assert clicks[tab] == pytest.approx(rate, abs=0.03)


def test_rates_and_watch_ratio_fall_with_duration_as_in_public():
  log = default_log()
  duration = np.expm1(log.dense["log1p_duration_seconds"])
  ratio = np.expm1(log.labels["log_watch_seconds"]) / duration
  table = log.labels[["click", "complete"]].assign(ratio=ratio)
  groups = table.groupby(pd.cut(duration, [0, 15, 30, 60, 120, 2000]), observed=True)
  means = groups.mean()
  assert means["click"].to_list() == pytest.approx([0.392, 0.447, 0.472, 0.483, 0.428], abs=0.03)
  assert means["complete"].to_list() == pytest.approx([0.275, 0.243, 0.169, 0.112, 0.046], abs=0.02)
  medians = groups["ratio"].median().to_list()
  assert medians == pytest.approx([0.374, 0.216, 0.125, 0.066, 0.021], abs=0.04)
  assert (ratio >= 2).mean() == pytest.approx(0.0108, abs=0.004)


def test_play_time_has_the_public_quantiles():
  seconds = default_log().labels["log_watch_seconds"].astype(np.float64).map(np.expm1)
  assert (seconds < 0.0005).mean() == pytest.approx(0.098, abs=0.01)
  quantiles = seconds.quantile([0.5, 0.75, 0.9, 0.95, 0.99]).to_list()
  assert quantiles == pytest.approx([4.611, 21.715, 62.368, 100.528, 209.161], rel=0.25)
  assert seconds.mean() == pytest.approx(21.495, rel=0.15)


def test_popularity_and_activity_are_as_unequal_as_in_public():
  rows = np.bincount(default_log().categorical["video_id"])
  rows = np.sort(rows[rows > 0])[::-1]
  assert gini(rows) == pytest.approx(0.73, abs=0.03)
  assert rows[: len(rows) // 100].sum() / rows.sum() == pytest.approx(0.174, abs=0.02)
  assert rows[: len(rows) // 10].sum() / rows.sum() == pytest.approx(0.599, abs=0.03)
  assert gini(np.bincount(default_log().categorical["user_id"])) == pytest.approx(0.463, abs=0.02)


def test_a_few_percent_of_late_rows_are_on_videos_new_to_the_log():
  log = default_log()
  first_day = pd.Series(log.day).groupby(log.categorical["video_id"]).transform("min")
  new = (first_day == log.day).groupby(log.day).mean()
  assert new[1] == pytest.approx(0.096, abs=0.02)
  assert new[7:].between(0.01, 0.07).all()
  assert (log.dense["video_age_days"] > 0).all()


def test_a_video_has_one_to_four_of_46_tags():
  log = default_log()
  bag = log.bags["tags"]
  lengths = np.array([len(tags) for tags in bag.lists])[bag.index]
  assert (lengths.min(), lengths.max()) == (1, 4)
  assert lengths.mean() == pytest.approx(1.183, abs=0.1)
  assert {tag for tags in bag.lists for tag in tags} == set(range(46))
  with_first = np.array([0 in tags for tags in bag.lists])[bag.index]
  assert with_first.mean() == pytest.approx(0.155, abs=0.04)


def test_only_surveyed_rows_have_a_satisfaction_label():
  labels = default_log().labels
  assert labels["satisfaction"].notna().mean() == pytest.approx(0.2, abs=0.005)
  assert set(labels["satisfaction"].dropna()) == {1, 2, 3, 4, 5}
  assert not labels.drop(columns="satisfaction").isna().any(axis=None)


def test_complete_means_a_play_time_at_or_above_the_duration():
  log = default_log()
  reached = log.labels["log_watch_seconds"] >= log.dense["log1p_duration_seconds"].astype(
    np.float32
  )
  np.testing.assert_array_equal(reached, log.labels["complete"] == 1)
  assert (log.labels["click"] >= log.labels[["like", "share", "complete"]].max(axis=1)).all()


@pytest.mark.parametrize("task", [*BINARY, "log_watch_seconds", "satisfaction"])
def test_labels_average_to_their_truth_in_every_tenth_of_it(task):
  log = default_log()
  assert log.truth is not None
  table = pd.DataFrame({"truth": log.truth[task], "label": log.labels[task]}).dropna()
  table = table.astype(np.float64)
  tenths = table.groupby(pd.qcut(table["truth"], 10, labels=False))
  error = (tenths["label"].mean() - tenths["truth"].mean()).abs()
  assert (error < 4 * tenths["label"].std() / np.sqrt(tenths.size())).all()


def test_no_disturbed_truth_predicts_day_n_better_than_the_truth():
  log = default_log()
  assert log.truth is not None
  last = log.day == log.day[-1]
  truth, labels = log.truth[last], log.labels[last]
  disturbance = np.random.default_rng(0).standard_normal(len(truth))
  for task in BINARY:
    logit = np.log(truth[task] / (1 - truth[task]))
    disturbed = [roc_auc_score(labels[task], logit + size * disturbance) for size in (0.5, 1, 2)]
    assert roc_auc_score(labels[task], logit) > max(disturbed)
  for task in ("log_watch_seconds", "satisfaction"):
    error = labels[task] - truth[task]
    best = min(((error + size * disturbance) ** 2).mean() for size in (0.1, 0.2, 0.5))
    assert (error**2).mean() < min(best, labels[task].var())


def test_the_truth_of_day_n_is_about_as_predictable_as_a_real_log():
  log = default_log()
  assert log.truth is not None
  last = log.day == log.day[-1]
  assert roc_auc_score(log.labels["click"][last], log.truth["click"][last]) == pytest.approx(
    0.80, abs=0.02
  )


def affinity_correlation(**dials: Any) -> float:
  """Between day 1 and day 11, of what is neither the user's nor the video's own."""
  log = read_whole(Synthetic(11, 8_000, num_users=40, num_videos=60, **dials))
  assert log.truth is not None
  # Satisfaction depends on user, video and taste alone: no hour, tab or age disturbs it.
  probability = (log.truth["satisfaction"] - 1) / 4
  logit = np.log(probability / (1 - probability))
  tables = []
  for day in (0, 10):
    of_day = log.day == day
    keys = [log.categorical[key][of_day] for key in ("user_id", "video_id")]
    tables.append(logit[of_day].groupby(keys).mean())
  pairs = pd.concat(tables, axis=1, join="inner", keys=("first", "last"))
  assert len(pairs) > 500
  for _ in range(10):  # removes user and video means from pairs that are not all there
    pairs -= pairs.groupby("user_id").transform("mean")
    pairs -= pairs.groupby("video_id").transform("mean")
  return float(pairs["first"].corr(pairs["last"]))


@pytest.mark.parametrize("daily_drift", [0.3, 0.9])
def test_taste_ten_days_apart_correlates_by_the_drift(daily_drift):
  expected = (1 - daily_drift**2) ** (10 / 2)
  assert affinity_correlation(daily_drift=daily_drift) == pytest.approx(expected, abs=0.15)


def test_an_unmoved_taste_stays_exactly():
  assert affinity_correlation(daily_drift=0.0) == pytest.approx(1, abs=1e-9)


def test_a_log_may_have_far_more_users_than_rows():
  log = read_whole(Synthetic(days=2, rows_per_day=1_000, num_users=200_000, num_videos=20_000))
  assert log.categorical["user_id"].max() > 100_000


DIALLED = Synthetic(days=4, rows_per_day=10_000, num_users=1_000, num_videos=1_500)


@functools.cache
def dialled(**dials: Any) -> FrameLog:
  return read_whole(dataclasses.replace(DIALLED, **dials))


def truth_of(log: FrameLog) -> pd.DataFrame:
  assert log.truth is not None
  return log.truth


EVERY_DIAL: Any = {
  **{"shift_on_day": 2, "shift_size": 0.5, "new_videos_share": 0.3, "tail": 4.0},
  **{"label_noise": 0.1, "bad_batches": 0.5, "num_noise_features": 4, "num_extra_tasks": 2},
}


def pieces_of(source: Synthetic) -> list[pd.DataFrame]:
  return [pd.DataFrame(piece) for piece in source.pieces()]


def test_a_log_comes_in_pieces_of_one_day_each_in_order(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(streams, "ROWS_AT_ONCE", 777)
  pieces = pieces_of(dataclasses.replace(SMALL, **EVERY_DIAL))
  assert [piece.day.iloc[0] for piece in pieces] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
  for piece in pieces:
    assert (piece.dtypes == pieces[0].dtypes).all()
    assert piece.day.nunique() == 1
    assert len(piece) <= 777
  rows = pd.concat(pieces, ignore_index=True)
  assert rows.time.is_monotonic_increasing
  assert rows.day.is_monotonic_increasing


@pytest.mark.parametrize("rows_at_once", [777, 100_000])
def test_the_size_of_pieces_changes_nothing(rows_at_once: int, monkeypatch: pytest.MonkeyPatch):
  source = dataclasses.replace(SMALL, rows_per_day=60_000, **EVERY_DIAL)
  plain = read_whole(source)
  monkeypatch.setattr(streams, "ROWS_AT_ONCE", rows_at_once)
  assert_same_log(plain, read_whole(source))


def peak_bytes(**options: Any) -> int:
  """The most that reading piece by piece holds at a time."""
  tracemalloc.start()
  for _ in Synthetic(**options).pieces():
    pass
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  return peak


def test_memory_does_not_grow_with_days():
  options = {"rows_per_day": 2_000, "num_users": 50, "num_videos": 50, "bad_batches": 0.5}
  few, many = (peak_bytes(days=days, num_noise_features=2, **options) for days in (4, 40))
  assert many < 1.2 * few


def test_a_row_of_a_day_takes_less_memory_than_it_takes_in_a_frame():
  few, many = (
    peak_bytes(days=1, rows_per_day=rows, num_users=50, num_videos=50)
    for rows in (200_000, 600_000)
  )
  assert (many - few) / 400_000 < 94


def test_positions_are_picked_as_numpy_does():
  shares = np.random.default_rng(1).random(5_000) ** 4
  shares /= shares.sum()
  picked = days.pick(np.random.default_rng(2).random(120_001), shares)
  np.testing.assert_array_equal(picked, np.random.default_rng(2).choice(5_000, 120_001, p=shares))


@pytest.mark.parametrize(
  "dials",
  [
    {"daily_drift": 0.6},
    {"shift_on_day": 3, "shift_size": 0.9},
    {"new_videos_share": 0.5},
    {"tail": 2.0},
    {"label_noise": 0.2},
    {"bad_batches": 0.6},
    {"num_extra_tasks": 3},
    {"num_extra_tasks": 2, "label_noise": 0.1, "bad_batches": 0.3, "tail": 0.5},
  ],
)
def test_the_truth_follows_every_dial_in_every_tenth_of_it(dials):
  log = dialled(**dials)
  in_day = np.arange(len(log.time)) - np.searchsorted(log.day, log.day)
  burst = log.day * 1_000 + in_day // 200
  for task in truth_of(log):
    table = pd.DataFrame({"truth": truth_of(log)[task], "label": log.labels[task], "burst": burst})
    table = table.dropna().astype(np.float64)
    table["error"] = table["label"] - table["truth"]
    for _, tenth in table.groupby(pd.qcut(table["truth"].rank(method="first"), 10, labels=False)):
      # Rows of one burst go wrong together, so the bursts are what varies.
      variance = (tenth.groupby("burst")["error"].sum() ** 2).sum()
      if task not in ("log_watch_seconds", "satisfaction"):
        # A tenth without a single positive would seem to vary by nothing.
        variance = max(variance, (tenth["truth"] * (1 - tenth["truth"])).sum())
      deviation = np.sqrt(variance)
      assert abs(tenth["error"].sum()) < 4 * deviation, task


@pytest.mark.parametrize(
  ("dials", "changed"),
  [
    ({"tail": 3.0}, {"labels": ["log_watch_seconds"]}),
    ({"label_noise": 0.1}, {"labels": BINARY, "truth": BINARY}),
    (
      {"bad_batches": 0.3},
      {"labels": [*BINARY, "log_watch_seconds", "satisfaction"], "truth": BINARY},
    ),
    ({"num_noise_features": 4}, {}),
    ({"num_extra_tasks": 2}, {}),
    ({"shift_on_day": 3, "shift_size": 0.0}, {}),
  ],
)
def test_a_dial_leaves_what_it_does_not_change_bit_for_bit(dials, changed):
  plain, turned = dialled(), dialled(**dials)
  np.testing.assert_array_equal(plain.time, turned.time)
  for table in ("categorical", "dense", "labels", "truth"):
    for name, column in getattr(plain, table).items():
      same = column.equals(getattr(turned, table)[name])
      assert same != (name in changed.get(table, [])), (table, name)


def test_a_shift_changes_no_row_and_no_day_before_it():
  plain, turned = dialled(), dialled(shift_on_day=3, shift_size=0.9)
  pd.testing.assert_frame_equal(plain.categorical, turned.categorical)
  pd.testing.assert_frame_equal(plain.labels[plain.day < 2], turned.labels[plain.day < 2])
  changed = (truth_of(plain)["click"] != truth_of(turned)["click"]).groupby(plain.day).mean()
  assert changed.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("size", [0.6, 1.0])
def test_taste_before_and_after_a_shift_correlates_by_its_size(size):
  correlation = affinity_correlation(daily_drift=0.0, shift_on_day=11, shift_size=size)
  assert correlation == pytest.approx(np.sqrt(1 - size**2), abs=0.15)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_videos_are_new_by_the_share_that_is_asked(share):
  log = dialled(new_videos_share=share)
  video = log.categorical["video_id"].to_numpy()  # in the order of upload
  old = max(1, round((1 - share) * DIALLED.num_videos))
  for day in range(DIALLED.days):
    there = old + (DIALLED.num_videos - old) * day / (DIALLED.days - 1)
    newest = video[log.day == day].max()
    assert 0.97 * there - 1 < newest < there
  assert (log.dense["video_age_days"] > 0).all()


@pytest.mark.parametrize("tail", [0.5, 1.0, 3.0])
def test_play_time_beyond_the_duration_has_the_tail_that_is_asked(tail):
  log = dialled(tail=tail)
  play_time = log.labels["log_watch_seconds"] - log.dense["log1p_duration_seconds"]
  beyond = play_time[log.labels["complete"] == 1].to_numpy()
  # Weibull: P(X > x) = exp(-(x / scale)^shape), its mean is scale times gamma(1 + 1 / shape).
  mean, shape = 0.155 * math.gamma(1 + 1 / 0.7), 0.7 / tail
  for x in (0.05, 0.2, 0.5, 2.0):
    expected = math.exp(-((x * math.gamma(1 + 1 / shape) / mean) ** shape))
    error = math.sqrt(expected * (1 - expected) / len(beyond))
    assert (beyond > x).mean() == pytest.approx(expected, abs=4 * error + 1e-4)


def test_label_noise_flips_its_share_of_every_binary_label():
  plain, noisy = dialled(num_extra_tasks=1), dialled(num_extra_tasks=1, label_noise=0.1)
  error = math.sqrt(0.1 * 0.9 / len(plain.time))
  flips = plain.labels[[*BINARY, "extra_0"]] != noisy.labels[[*BINARY, "extra_0"]]
  assert flips.mean().tolist() == pytest.approx([0.1] * 5, abs=4 * error)
  assert flips.all(axis=1).mean() < 0.001  # each on its own
  assert flips.groupby(plain.day)["click"].mean().tolist() == pytest.approx([0.1] * 4, abs=0.015)


def test_days_draw_their_noise_and_their_extra_labels_anew():
  plain, noisy = dialled(num_extra_tasks=1), dialled(num_extra_tasks=1, label_noise=0.1)
  flips = (plain.labels["click"] != noisy.labels["click"]).to_numpy(np.float64)
  missed = (plain.labels["extra_0"] - truth_of(plain)["extra_0"]).to_numpy(np.float64)
  for column in (flips, missed):
    one, other = column[plain.day == 0], column[plain.day == 1]
    count = min(len(one), len(other))
    assert abs(np.corrcoef(one[:count], other[:count])[0, 1]) < 4 / math.sqrt(count)


def test_if_every_burst_is_bad_a_binary_label_that_is_there_is_a_coin():
  log = dialled(bad_batches=1.0)
  before_last = log.day < DIALLED.days - 1
  assert truth_of(log)[list(BINARY)][before_last].to_numpy() == pytest.approx(0.5)
  assert (truth_of(log)["like"][~before_last] < 0.5).mean() > 0.9


def test_bad_bursts_are_outliers_or_missing_or_flipped_and_never_on_the_last_day():
  share = 0.6
  source = dataclasses.replace(DIALLED, days=11, bad_batches=share)
  plain, bad = read_whole(dataclasses.replace(source, bad_batches=0.0)), read_whole(source)
  last = bad.day == source.days - 1
  pd.testing.assert_frame_equal(plain.labels[last], bad.labels[last])
  pd.testing.assert_frame_equal(truth_of(plain)[last], truth_of(bad)[last])
  kinds = []
  for day in range(source.days - 1):
    before = plain.labels[plain.day == day].to_numpy(np.float64)
    after = bad.labels[bad.day == day].to_numpy(np.float64)
    for start in range(0, len(before), 200):
      one, other = before[start : start + 200], after[start : start + 200]
      binary, flips = one[:, :4], other[:, :4] != one[:, :4]
      distance = np.abs(other[:, 4:] - one[:, 4:])
      distance = distance[~np.isnan(distance)]
      if np.isnan(other).all():
        kinds.append("missing")
      elif flips.all():
        assert set(np.unique(binary)) <= {0, 1}
        np.testing.assert_array_equal(distance, 0)
        kinds.append("flipped")
      elif distance.any():
        assert not flips.any()
        assert distance == pytest.approx(np.full(len(distance), 1e4), abs=1e-3)
        assert 0.2 < (other[:, 4] > one[:, 4]).mean() < 0.8
        kinds.append("outlier")
      else:
        np.testing.assert_array_equal(one, other)
        kinds.append("clean")
  counts = pd.Series(kinds).value_counts(normalize=True)
  expected = {"clean": 1 - share, "outlier": share / 3, "missing": share / 3, "flipped": share / 3}
  for kind, frequency in expected.items():
    error = math.sqrt(frequency * (1 - frequency) / len(kinds))
    assert counts[kind] == pytest.approx(frequency, abs=4 * error), kind


def test_noise_features_tell_nothing_and_more_of_them_leave_the_first_as_they_are():
  few, many = dialled(num_noise_features=2), dialled(num_noise_features=6)
  assert [name for name in many.categorical if "noise" in str(name)] == [
    "noise_0",
    "noise_2",
    "noise_4",
  ]
  assert [name for name in many.dense if "noise" in str(name)] == ["noise_1", "noise_3", "noise_5"]
  pd.testing.assert_series_equal(few.categorical["noise_0"], many.categorical["noise_0"])
  pd.testing.assert_series_equal(few.dense["noise_1"], many.dense["noise_1"])
  assert many.categorical["noise_0"].between(0, 999).all()
  assert many.categorical["noise_0"].nunique() > 900
  others = many.dense[["noise_3", "noise_5"]].assign(id=many.categorical["noise_0"])
  columns = pd.concat([truth_of(many), others, many.dense["noise_1"]], axis=1)
  correlation = columns.corr()["noise_1"].drop("noise_1")
  assert (correlation.abs() < 4 / math.sqrt(len(many.time))).all()
  assert many.dense["noise_1"].groupby(many.day).first().nunique() == DIALLED.days


def test_extra_tasks_are_binary_come_last_and_more_of_them_leave_the_first_as_they_are():
  few, many = dialled(num_extra_tasks=2), dialled(num_extra_tasks=5)
  assert [task.name for task in many.tasks] == list(many.labels) == list(truth_of(many))
  assert [task.name for task in many.tasks[6:]] == [f"extra_{k}" for k in range(5)]
  assert {task.kind for task in many.tasks[6:]} == {"binary"}
  pd.testing.assert_series_equal(few.labels["extra_0"], many.labels["extra_0"])
  pd.testing.assert_series_equal(truth_of(few)["extra_1"], truth_of(many)["extra_1"])
  for k in range(5):
    auc = roc_auc_score(many.labels[f"extra_{k}"], truth_of(many)[f"extra_{k}"])
    assert 0.6 < auc < 0.95
  rates = many.labels[[f"extra_{k}" for k in range(5)]].mean()
  assert rates.nunique() == 5


def test_a_log_with_every_dial_turned_can_be_stored(tmp_path: Path):
  made = prepare(dataclasses.replace(SMALL, **EVERY_DIAL), tmp_path)
  assert len(made.schema.tasks) == 8
  assert {"noise_0", "noise_1", "noise_2", "noise_3"} <= {
    feature.name for feature in made.schema.features
  }
  assert made.card["best_possible_on_day_n"]["extra_1"]["auc"] > 0.5


def expected_auc(probability: Array, score: Array) -> float:
  """Over all pairs of rows: how often the score orders them as their labels, were these drawn."""
  weight = probability[:, None] * (1 - probability[None, :])
  np.fill_diagonal(weight, 0)
  above = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
  return float((weight * above).sum() / weight.sum())


def test_a_frozen_oracle_decays_by_the_drift_and_as_the_truth_says():
  source = Synthetic(days=10, rows_per_day=2_500, daily_drift=0.5)
  log, still = read_whole(source), read_whole(dataclasses.replace(source, daily_drift=0.0))
  pd.testing.assert_frame_equal(log.categorical, still.categorical)
  days = list(source.oracle_by_day())
  assert [day["day"] for day in days] == log.day_names
  for number, day in enumerate(days):
    rows = log.day == number
    probability, score = (truth_of(one)["click"][rows].to_numpy() for one in (log, still))
    assert day["oracle"]["click"]["auc"] == pytest.approx(
      roc_auc_score(log.labels["click"][rows], probability), abs=1e-12
    )
    missed = log.labels["satisfaction"][rows] - truth_of(log)["satisfaction"][rows]
    assert day["oracle"]["satisfaction"]["rmse"] == pytest.approx(
      np.sqrt((missed.astype(np.float64) ** 2).mean()), rel=1e-5
    )
    if number not in (0, 4, 9):  # the pairs take long
      continue
    error = 4 * 0.01  # four standard errors of an AUC of 2,500 rows
    assert day["oracle"]["click"]["auc"] == pytest.approx(
      expected_auc(probability, probability), abs=error
    )
    assert day["frozen"]["click"]["auc"] == pytest.approx(
      expected_auc(probability, score), abs=error
    )
  lost = [day["oracle"]["click"]["auc"] - day["frozen"]["click"]["auc"] for day in days]
  assert lost[0] == 0
  assert 0 < np.mean(lost[1:4]) < np.mean(lost[4:7]) < np.mean(lost[7:])
  assert np.mean(lost[7:]) > 0.05


def test_the_frozen_oracle_falls_on_the_day_of_a_shift_and_the_oracle_does_not():
  source = dataclasses.replace(DIALLED, daily_drift=0.0, shift_on_day=3, shift_size=1.0)
  oracle, frozen = (
    np.array([day[which]["click"]["auc"] for day in source.oracle_by_day()])
    for which in ("oracle", "frozen")
  )
  np.testing.assert_array_equal(oracle[:2], frozen[:2])
  assert (oracle[2:] - frozen[2:] > 0.08).all()
  assert np.ptp(oracle) < 0.03


def test_without_drift_the_frozen_oracle_is_the_oracle():
  for day in dataclasses.replace(SMALL, daily_drift=0.0).oracle_by_day():
    assert day["frozen"] == day["oracle"]


def test_the_frozen_oracle_knows_of_each_user_and_video_what_day_1_told():
  source = Synthetic(4, 20_000, 8, 12, daily_drift=0.6, new_videos_share=0.0)
  log = read_whole(source)
  # Satisfaction depends on user, video and taste alone.
  pair = [log.categorical["user_id"], log.categorical["video_id"]]
  first_day = truth_of(log)["satisfaction"].where(log.day == 0)
  told = first_day.groupby(pair).transform("first").to_numpy()
  missed = (log.labels["satisfaction"] - told).astype(np.float64)
  assert not missed[log.labels["satisfaction"].notna()].isna().any()
  rmse = np.sqrt((missed**2).groupby(log.day).mean())
  days = list(source.oracle_by_day())
  assert [day["frozen"]["satisfaction"]["rmse"] for day in days] == pytest.approx(rmse.tolist())
  assert days[-1]["frozen"]["satisfaction"]["rmse"] > days[-1]["oracle"]["satisfaction"]["rmse"]


def test_noise_features_of_two_days_have_nothing_in_common():
  log = dialled(num_noise_features=2)
  first, second = (log.day == 0), (log.day == 1)
  rows = min(first.sum(), second.sum())
  for table, name in ((log.dense, "noise_1"), (log.categorical, "noise_0")):
    columns = [table[name][of_day].to_numpy()[:rows] for of_day in (first, second)]
    assert (columns[0] == columns[1]).mean() < 0.05, name


def test_extra_tasks_follow_taste():
  still, moved = (truth_of(dialled(num_extra_tasks=1, daily_drift=drift)) for drift in (0.0, 0.4))
  later = slice(-1_000, None)
  assert (still["extra_0"][later] != moved["extra_0"][later]).mean() > 0.95


def test_the_oracle_scores_the_log_loss_of_its_probabilities():
  *_, last = SMALL.oracle_by_day()
  log = read_whole(SMALL)
  of_last_day = log.day == SMALL.days - 1
  truth, label = truth_of(log)["click"][of_last_day], log.labels["click"][of_last_day]
  expected = -np.mean(np.log(np.where(label == 1, truth, 1 - truth)))
  assert last["oracle"]["click"]["logloss"] == pytest.approx(expected, rel=1e-6)
