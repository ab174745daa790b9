"""The synthetic log: its marginals against the public figures, its truth against its labels."""

import dataclasses
import datetime
import functools
import json
import re
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ranking.data.schema import Array, DataError, Log
from ranking.data.sources.synthetic import Synthetic

SMALL = Synthetic(days=3, rows_per_day=2_000, num_users=300, num_videos=500)
BINARY = ("click", "like", "share", "complete")


@functools.cache
def default_log() -> Log:
  return Synthetic().read()


def shares(column: Array) -> dict[int, float]:
  values, counts = np.unique(column, return_counts=True)
  return dict(zip(values.tolist(), (counts / counts.sum()).tolist(), strict=True))


def gini(counts: Array) -> float:
  """Of the ids that occur at all."""
  seen = np.sort(counts[counts > 0])
  rank = np.arange(1, len(seen) + 1)
  return float((2 * rank - len(seen) - 1) @ seen / (len(seen) * seen.sum()))


def assert_same_log(one: Log, other: Log) -> None:
  np.testing.assert_array_equal(one.time, other.time)
  np.testing.assert_array_equal(one.bags["tags"].index, other.bags["tags"].index)
  assert one.bags["tags"].lists == other.bags["tags"].lists
  for table in ("categorical", "dense", "labels", "truth"):
    pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), check_exact=True)


def test_same_seed_gives_the_same_log_bit_for_bit():
  assert_same_log(SMALL.read(), SMALL.read())


def test_another_seed_gives_another_log():
  one, other = SMALL.read(), dataclasses.replace(SMALL, seed=1).read()
  assert one.labels["click"].to_list()[:1000] != other.labels["click"].to_list()[:1000]
  assert (
    one.categorical["user_id"].to_list()[:1000] != other.categorical["user_id"].to_list()[:1000]
  )


def test_identity_names_every_option_and_is_json():
  identity = json.loads(json.dumps(Synthetic(seed=3).identity()))
  options = {field.name for field in dataclasses.fields(Synthetic)}
  assert set(identity) == options | {"generator_version"}
  assert identity["seed"] == 3


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"days": 0}, "Synthetic.days is 0; set it to 1 or more"),
    ({"seed": -1}, "Synthetic.seed is -1; set it to 0 or more"),
    ({"daily_drift": 1.5}, "Synthetic.daily_drift is 1.5; set it between 0 and 1"),
  ],
)
def test_an_impossible_option_is_an_error_that_names_it(options, message):
  with pytest.raises(DataError, match=re.escape(message)):
    Synthetic(**options)


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
  rows = np.bincount(dataclasses.replace(SMALL, rows_per_day=rows_per_day).read().day)
  assert len(rows) == SMALL.days
  assert rows == pytest.approx(np.full(SMALL.days, rows_per_day), rel=0.12)


def test_more_rows_a_day_leave_users_and_videos_as_they_are():
  def videos(log: Log) -> pd.DataFrame:
    columns = log.categorical[["video_id", "author_id", "music_id", "upload_type"]]
    return columns.drop_duplicates().set_index("video_id").sort_index()

  few, many = videos(SMALL.read()), videos(dataclasses.replace(SMALL, rows_per_day=4_000).read())
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


def affinity_correlation(daily_drift: float) -> float:
  """Between day 1 and day 11, of what is neither the user's nor the video's own."""
  log = Synthetic(11, 8_000, num_users=40, num_videos=60, daily_drift=daily_drift).read()
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
  assert affinity_correlation(daily_drift) == pytest.approx(expected, abs=0.15)


def test_an_unmoved_taste_stays_exactly():
  assert affinity_correlation(0.0) == pytest.approx(1, abs=1e-9)


def test_a_log_may_have_far_more_users_than_rows():
  log = Synthetic(days=2, rows_per_day=1_000, num_users=200_000, num_videos=20_000).read()
  assert log.categorical["user_id"].max() > 100_000
