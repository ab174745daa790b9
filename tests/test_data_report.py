"""The data report: its figures against counting by hand, warnings where there is reason."""

import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.cli import main
from ranking.data import report
from ranking.data.prepare import prepare
from ranking.data.remark import unanswered
from ranking.data.report import TOP_IDS, by_day, measure, psi, to_look_at, to_markdown
from ranking.data.store import Day, DayStore
from ranking.tasks import Task
from tests.conftest import DAY_NAMES, MS_PER_DAY, ROWS_PER_DAY, START, TinySource, make_log
from tests.frames import Bag, FrameLog
from tests.packing import with_changes

ROOT = Path(__file__).parent.parent
WEEK = tuple(f"2024-03-0{number}" for number in range(1, 8))
ROWS = 2_000  # of each day of a week
DAY = np.repeat(np.arange(len(WEEK)), ROWS)
NEW_VIDEOS = np.random.default_rng(2).integers(0, 20 + 5 * DAY)
counts = st.lists(st.integers(0, 10_000), min_size=4, max_size=4).filter(any).map(np.array)


def psi_by_hand(p_rows: list[int], q_rows: list[int]) -> float:
  """The definition, bin by bin."""
  total = 0.0
  for p_in, q_in in zip(p_rows, q_rows, strict=True):
    p = (p_in + 0.5) / (sum(p_rows) + 0.5 * len(p_rows))
    q = (q_in + 0.5) / (sum(q_rows) + 0.5 * len(q_rows))
    total += (p - q) * math.log(p / q)
  return total


def week(**changes: Array) -> FrameLog:
  """Seven days of 2,000 rows, all days alike but for the columns given."""
  random = np.random.default_rng(7)
  size = len(DAY)
  column = {
    "time": START + DAY * MS_PER_DAY + np.tile(np.arange(ROWS) * 43_000, len(WEEK)),
    "video": random.zipf(1.5, size) % 60,
    "topics": random.integers(0, 4, size),
    "sounds": random.integers(0, 2, size),
    "age": random.normal(size=size),
    "watched": np.where(random.random(size) < 0.6, 3.0, random.exponential(size=size)),
    "click": random.random(size) < 0.3,
    "stars": random.normal(3, 1, size),
  } | changes
  return FrameLog(
    time=column["time"],
    day=DAY.astype(np.int32),
    day_names=WEEK,
    time_zone="UTC",
    categorical=pd.DataFrame({"video": column["video"]}),
    bags={
      "topics": Bag([["a"], ["a", "b"], ["c"], []], column["topics"]),
      "sounds": Bag([["x"], ["y", "z"]], column["sounds"]),
    },
    dense=pd.DataFrame({name: column[name] for name in ("age", "watched")}),
    labels=pd.DataFrame({name: column[name] for name in ("click", "stars")}).astype(np.float32),
    tasks=(Task("click", "binary"), Task("stars", "regression")),
    entities=(),
    rated_tasks=(),
    cleaning={},
  )


def stored(log: FrameLog, folder: Path) -> DayStore:
  return prepare(TinySource(log), folder)


def measured(store: DayStore) -> report.Report:
  return measure(store.schema, [*store.train_days, store.eval_day])


def figures_of(frame: pd.DataFrame, *row: Any) -> Any:
  where: Any = row if len(row) > 1 else row[0]
  return frame.loc[where]


def warned(folder: Path, **changes: Array) -> list[str]:
  return to_look_at(measured(stored(week(**changes), folder)))


def test_psi_is_its_definition_with_half_a_row_in_each_bin() -> None:
  p, q = (30.5 / 41.5, 0.5 / 41.5, 10.5 / 41.5), (10.5 / 61.5, 20.5 / 61.5, 30.5 / 61.5)
  expected = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
  found = psi(np.array([30, 0, 10]), np.array([10, 20, 30]))
  assert found == pytest.approx(expected, rel=1e-14)
  assert expected > 1


@settings(derandomize=True, database=None, deadline=None)
@given(counts, counts)
def test_psi_is_symmetric_and_0_only_between_equal_shares(one: Array, other: Array) -> None:
  found = psi(one, other)
  assert found == pytest.approx(psi_by_hand(one.tolist(), other.tolist()), rel=1e-9, abs=1e-15)
  assert found == pytest.approx(psi(other, one), rel=1e-9)
  assert psi(one, one) == 0
  assert found >= 0
  if sum(one) == sum(other) and (one != other).any():
    assert found > 0


def test_psi_of_no_rows_is_not_a_number() -> None:
  assert math.isnan(psi(np.array([0, 0]), np.array([1, 2])))
  assert math.isnan(psi(np.array([1, 2]), np.array([0, 0])))


def test_missing_and_rare_shares_are_those_of_the_raw_log(
  tiny_log: FrameLog, tiny_store: DayStore
) -> None:
  found = measured(tiny_store)
  raw = tiny_log.categorical
  train = tiny_log.day < len(DAY_NAMES) - 1
  for number, day in enumerate(DAY_NAMES[:-1]):
    today = tiny_log.day == number
    for name in raw:
      times = raw[name].map(raw[name][train].value_counts())
      figures = figures_of(found.features, day, name)
      assert figures.missing == pytest.approx(raw[name][today].isna().mean(), abs=1e-15)
      assert figures.rare == pytest.approx((times[today] < 3).mean(), abs=1e-15)
    for name in tiny_log.dense:
      missing = tiny_log.dense[name][today].isna().mean()
      assert figures_of(found.features, day, name).missing == pytest.approx(missing, abs=1e-15)
      assert math.isnan(figures_of(found.features, day, name).rare)
    likes = tiny_log.bags["likes"]
    none = [not likes.lists[which] for which in likes.index[today]]
    assert figures_of(found.features, day, "likes").missing == pytest.approx(
      np.mean(none), abs=1e-15
    )
  assert (by_day(found, "missing").loc[["user_id", "length"]].iloc[:, :-1] > 0).all(axis=None)
  assert by_day(found, "rare").loc["user_id"].max() > 0


def test_the_rare_share_of_a_bag_is_of_its_ids(tiny_store: DayStore) -> None:
  found = measured(tiny_store)
  for day in [*tiny_store.train_days, tiny_store.eval_day]:
    ids = [number for row in day.bags.tolist() for number in row if number]
    empty = [row for row in day.bags.tolist() if not any(row)]
    expected = ids.count(1) / (len(ids) + len(empty))
    assert figures_of(found.features, day.name, "likes").rare == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("log", [make_log(), week(video=NEW_VIDEOS)], ids=["tiny", "new videos"])
def test_unseen_are_ids_of_no_earlier_day_and_on_day_n_those_without_an_id(
  log: FrameLog, tmp_path: Path
) -> None:
  store = stored(log, tmp_path)
  found = by_day(measured(store), "unseen")
  for name, raw in log.categorical.items():
    times = raw[log.day < len(log.day_names) - 1].value_counts()
    frequent = set(times.index[times >= 3])
    for number, day in enumerate(log.day_names[1:-1], start=1):
      earlier = set(raw[log.day < number])
      new = [value in frequent and value not in earlier for value in raw[log.day == number]]
      assert figures_of(found, name)[day] == pytest.approx(np.mean(new), abs=1e-15)
    told = raw[log.day < len(log.day_names) - 1].notna().all()
    last = store.card["unseen_rows_of_day_n"][name] / len(store.eval_day) if told else math.nan
    found_last = figures_of(found, name)[log.day_names[-1]]
    assert found_last == pytest.approx(last, abs=1e-15, nan_ok=True)
  assert found[log.day_names[0]].isna().all()
  assert found.drop(index=list(log.categorical)).isna().all(axis=None)


def test_new_videos_of_every_day_are_unseen(tmp_path: Path) -> None:
  found = by_day(measured(stored(week(video=NEW_VIDEOS), tmp_path)), "unseen")
  assert found.loc["video", list(WEEK[1:])].min() > 0.1


def test_labels_and_rows_are_those_of_the_log(tiny_log: FrameLog, tiny_store: DayStore) -> None:
  found = measured(tiny_store)
  assert found.days.rows.to_dict() == dict(zip(DAY_NAMES, ROWS_PER_DAY, strict=True))
  for number, day in enumerate(DAY_NAMES):
    today = tiny_log.labels[tiny_log.day == number].astype(np.float64)
    time = tiny_log.time[tiny_log.day == number]
    assert figures_of(found.days, day)[["first_time", "last_time"]].tolist() == [
      time.min(),
      time.max(),
    ]
    for task in tiny_log.tasks:
      figures = figures_of(found.labels, day, task.name)
      assert figures.labelled == today[task.name].notna().sum()
      assert figures.positives == (today[task.name] > 0).sum()
      assert figures["mean"] == pytest.approx(today[task.name].mean(), rel=1e-12)


def dense_bins(values: Array, reference: Array) -> list[int]:
  """Rows that are missing, then rows between deciles, a repeated decile apart, one by one."""
  known = sorted(value for value in reference.tolist() if value)
  deciles = [known[math.ceil(len(known) * tenth / 10) - 1] for tenth in range(1, 10)]
  ends: list[tuple[float, bool]] = []  # a bin ends at the value, before it or with it
  for value in sorted(set(deciles)):
    ends += [(value, False)] * (deciles.count(value) > 1) + [(value, True)]
  rows = [0] * (len(ends) + 2)
  for value in values.tolist():
    passed = [value > end or (value == end and not included) for end, included in ends]
    rows[1 + sum(passed) if value else 0] += 1
  return rows


def id_bins(values: Array, reference: Array, vocabulary_size: int) -> list[int]:
  """Rows (of a bag: ids, and lists without any) that are none, rare, each top id, and the rest."""

  def flat(table: Array) -> list[int]:
    return [number for row in table.tolist() for number in ([each for each in row if each] or [0])]

  ids, known = flat(values), [number for number in flat(reference) if number > 1]
  vocabulary = range(2, vocabulary_size)
  top = sorted(vocabulary, key=lambda number: (-known.count(number), number))[:TOP_IDS]
  rows = [ids.count(number) for number in (0, 1, *top)]
  rest = [number for number in vocabulary if number not in top]
  return [*rows, sum(ids.count(number) for number in rest)] if rest else rows


def test_drift_is_psi_over_bins_made_by_hand_from_the_first_half_of_the_training_days(
  tmp_path: Path,
) -> None:
  random = np.random.default_rng(3)
  size = len(DAY)
  store = stored(
    week(
      age=np.where(random.random(size) < 0.1, np.nan, random.normal(DAY / 10)),
      video=np.where(
        random.random(size) < 0.05, -np.arange(size), random.zipf(1.3 + DAY / 20) % 60
      ),
      topics=random.integers(0, 2 + DAY // 3, size),
    ),
    tmp_path,
  )
  found = measured(store)
  days = [*store.train_days, store.eval_day]
  assert found.reference == WEEK[:3]

  def table(day: Day, name: str) -> Array:
    column = {"video": day.ids[:, :1], "topics": day.bags[:, :2], "sounds": day.bags[:, 2:]}
    return column[name] if name in column else day.dense[:, ["age", "watched"].index(name)]

  for feature in store.schema.features:
    name, size = feature.name, feature.vocabulary_size
    reference = np.concatenate([table(day, name) for day in days[:3]])

    def bins(values: Array, reference: Array = reference, size: int = size) -> list[int]:
      return id_bins(values, reference, size) if size else dense_bins(values, reference)

    expected = bins(reference)
    before: list[int] = []
    for day in days:
      rows = bins(table(day, name))
      figures = figures_of(found.features, day.name, name)
      assert figures.psi_reference == pytest.approx(psi_by_hand(rows, expected), rel=1e-10)
      if before:
        assert figures.psi_day_before == pytest.approx(psi_by_hand(rows, before), rel=1e-10)
      else:
        assert math.isnan(figures.psi_day_before)
      noise = (len(rows) - 1) * (1 / sum(rows) + 1 / sum(expected))
      assert figures.chance == pytest.approx(noise, rel=1e-12)
      before = rows
  assert len(dense_bins(reference, reference)) < 10  # watched has repeated deciles


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_figures_do_not_depend_on_the_rows_in_memory(
  tiny_store: DayStore, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
  whole = measured(tiny_store)
  monkeypatch.setattr(report, "BLOCK", block)
  pd.testing.assert_frame_equal(measured(tiny_store).features, whole.features, check_exact=True)


def test_deciles_are_of_evenly_spaced_rows_where_there_are_many(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  store = stored(week(), tmp_path)
  monkeypatch.setattr(report, "DECILE_ROWS", 500)
  (edges, _) = report._edges(store.schema, store.train_days[:3]).values()
  every_twelfth = np.concatenate([day.dense[::12, 0] for day in store.train_days[:3]])
  expected = np.quantile(every_twelfth, report.DECILES, method="inverted_cdf")
  np.testing.assert_array_equal(edges, expected)


def test_days_alike_give_no_warning(tmp_path: Path) -> None:
  found = measured(stored(week(), tmp_path))
  assert to_look_at(found) == []
  assert found.features.psi_reference.max() < 2 * found.features.chance.max() < 0.1


DRIFTS: dict[str, tuple[str, Array]] = {
  "a shifted dense feature": ("age", np.random.default_rng(1).normal(1.0 * (DAY >= 4))),
  "a slightly shifted dense feature": (
    "age",
    np.random.default_rng(1).normal(0.6 * (DAY >= 4)),
  ),
  "a tail that moves": (
    "watched",
    np.where(np.arange(len(DAY)) % 10 < 8, 3.0, np.where(DAY >= 4, 2.0, 1.0)),
  ),
  "a dense feature that goes missing": (
    "age",
    np.where((DAY >= 4) & (np.arange(len(DAY)) % 3 > 0), np.nan, np.arange(len(DAY)) % 97 / 97),
  ),
  "other ids": ("video", np.random.default_rng(1).integers(0, 9, len(DAY)) + 5 * (DAY >= 4)),
  "other lists": ("topics", np.random.default_rng(1).integers(0, 2, len(DAY)) + 2 * (DAY >= 4)),
}


@pytest.mark.parametrize("which", DRIFTS)
def test_drift_is_found_where_it_was_put_and_nowhere_else(tmp_path: Path, which: str) -> None:
  name, column = DRIFTS[which]
  found = measured(stored(week(**{name: column}), tmp_path))
  (line,) = to_look_at(found)
  first, jumps = (by_day(found, f"psi_{other}").loc[name] for other in ("reference", "day_before"))
  assert line == (
    f"feature {name} drifts: PSI above 0.25 against the first training days on 3 of 7 days "
    f"({first.max():.2f} on {first.idxmax()}), against the day before on 1 of 6 days "
    f"({jumps.max():.2f} on {WEEK[4]})"
  )


def test_the_feature_that_drifts_most_comes_first(tmp_path: Path) -> None:
  random = np.random.default_rng(1)
  lines = warned(
    tmp_path, age=random.normal(0.8 * (DAY >= 4)), video=np.arange(len(DAY)) % 9 + 9 * (DAY >= 4)
  )
  assert [line.split()[1] for line in lines] == ["video", "age"]


def test_of_many_training_days_the_first_week_is_the_reference(tmp_path: Path) -> None:
  store = stored(week(), tmp_path)
  many = [*store.train_days * 3, store.eval_day]
  days = [with_changes(day, name=str(number)) for number, day in enumerate(many)]
  assert measure(store.schema, days).reference == tuple("0123456")


def test_a_slow_drift_is_seen_against_the_first_days_only(tmp_path: Path) -> None:
  drifting = np.random.default_rng(1).normal(DAY * 0.3)
  (line,) = warned(tmp_path, age=drifting)
  assert line.startswith("feature age drifts: PSI above 0.25 against the first training days on ")
  assert line.endswith(f" on {WEEK[-1]})")


def test_a_label_never_positive_on_a_day_is_a_warning(tmp_path: Path) -> None:
  click = (np.arange(len(DAY)) % 3 == 0) & ~np.isin(DAY, (3, 5, 6))
  click[5 * ROWS] = True  # once is enough
  stars = np.where(DAY == 2, np.nan, 0.0)
  assert warned(tmp_path, click=click, stars=stars) == [
    f"label click is never positive on {WEEK[3]}, {WEEK[6]}",
    f"label stars is on no row of {WEEK[2]}",
  ]


def test_a_feature_that_says_nothing_is_a_warning_and_one_that_tells_the_day_does_not_drift(
  tmp_path: Path,
) -> None:
  assert warned(tmp_path, age=np.full(len(DAY), 4.0), video=DAY % 5) == [
    "feature video has one value a day",
    "feature age has one value in all rows",
  ]


def test_a_feature_that_stands_still_for_some_days_is_a_warning(tmp_path: Path) -> None:
  still = (DAY == 1) | (DAY >= 3)
  lines = warned(tmp_path, topics=np.where(still, 2, np.arange(len(DAY)) % 4))
  assert lines[0] == (
    f"feature topics has one value on {WEEK[1]}, {WEEK[3]}, {WEEK[4]} and 2 days more"
  )


def test_a_gap_between_days_and_a_day_without_rows_are_warnings(tmp_path: Path) -> None:
  time = week().time + (DAY >= 3) * 20 * MS_PER_DAY
  store = stored(week(time=time, age=np.zeros(len(DAY))), tmp_path)
  hours = 24 - 1999 * 43 / 3600 + 20 * 24
  gap = f"no row for {hours / 24:.1f} days between {WEEK[2]} and {WEEK[3]}"
  constant = "feature age has one value in all rows"
  assert to_look_at(measured(store)) == [gap, constant]
  days = [*store.train_days, store.eval_day]
  arrays = {name: getattr(days[1], name)[:0] for name in ("ids", "bags", "dense", "labels", "time")}
  days[1] = Day(name=WEEK[1], **arrays)
  found = measure(store.schema, days)
  assert to_look_at(found) == [
    f"{WEEK[1]} has no rows",
    f"no row for 1.0 days between {WEEK[0]} and {WEEK[2]}",
    gap,
    *(f"label {task} is on no row of {WEEK[1]}" for task in ("click", "stars")),
    constant,
  ]
  assert found.reference == (WEEK[0], WEEK[2])
  assert found.features.loc[WEEK[1]].drop(columns="only_value").isna().all(axis=None)
  assert "nan" not in to_markdown(store.card, found, {})


def test_a_day_of_few_rows_is_a_warning(tmp_path: Path) -> None:
  store = stored(week(), tmp_path)
  days = [*store.train_days, store.eval_day]
  for number, rows in ((2, 199), (4, 200)):
    names = ("ids", "bags", "dense", "labels", "time")
    arrays = {name: getattr(days[number], name)[-rows:] for name in names}
    days[number] = Day(name=WEEK[number], **arrays)
  found = to_look_at(measure(store.schema, days))
  assert found[0] == f"{WEEK[2]} has 199 rows, the median day 2,000"
  assert not any(f"{WEEK[4]} has " in line for line in found)


def test_the_page_has_the_warnings_on_top_and_tables_of_one_width(
  tiny_log: FrameLog, tiny_store: DayStore
) -> None:
  found = measured(tiny_store)
  past = [f.name for f in tiny_store.schema.features if f.name.endswith(("_count", "_rate"))]
  page = to_markdown(tiny_store.card, found, {"What drifts": "drift.png"})
  assert page.startswith("# tiny, day by day\n\n220 rows of 4 days in UTC; ")
  headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
  assert headings == [
    f"Warnings: {len(unanswered(tiny_store.card))}",
    f"What stands out from day to day: {len(to_look_at(found, past))}",
    *("Rows and labels", "Cleaning", "Drift", "Missing", "Rare", "Unseen"),
  ]
  assert all(f"- {line}\n" in page for line in to_look_at(found, past))
  assert "![What drifts](drift.png)\n" in page
  assert "- dropped: rows that were made up twice: 3\n" in page
  click, stars = (figures_of(found.labels, DAY_NAMES[1], task) for task in ("click", "stars"))
  assert f"| {click.positives} of {click.labelled} ({click['mean']:.2%}) |" in page
  assert f"| {stars['mean']:.3f} of {stars.labelled} |\n" in page
  share = figures_of(found.features, DAY_NAMES[2], "user_id").unseen
  assert f"| {share:.2%} |" in page.partition("## Unseen")[2]
  assert "nan" not in page
  highest = by_day(found, "psi_reference").max(axis=1)
  listed = re.findall(r"^\| (\w+) \| (\S+) on ", page, re.MULTILINE)
  assert [name for name, _ in listed] == highest.sort_values(ascending=False).index.tolist()
  assert [value for _, value in listed] == [f"{highest[name]:.3f}" for name, _ in listed]
  day_before = page.partition("### Against the day before\n\n")[2]
  assert day_before.startswith(f"| feature | {' | '.join(DAY_NAMES[1:])} |\n")
  tables = [part.splitlines() for part in page.split("\n\n") if part.startswith("|")]
  assert len(tables) == 7
  for table in tables:
    assert len({line.count("|") for line in table}) == 1


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, "-m", "ranking", "data-report", *arguments]
  return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def digests(folder: Path) -> dict[Path, str]:
  files = [path for path in folder.rglob("*") if path.is_file()]
  return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_command_writes_the_page_with_its_pictures_and_prints_the_warnings(
  tmp_path: Path,
) -> None:
  store = stored(week(click=np.arange(len(DAY)) % 3 * (DAY != 3) == 1), tmp_path)
  before = digests(tmp_path)
  out = tmp_path / "some" / "where"
  done = command(f"--store={store.directory}", f"--out={out}")
  assert done.returncode == 0, done.stderr
  assert done.stdout == f"{out}/report.md\n"  # what is said is what the card warns of
  page = (out / "report.md").read_text()
  assert f"- label click is never positive on {WEEK[3]}\n" in page
  pictures = re.findall(r"!\[.+\]\((.+)\)", page)
  assert sorted(path.name for path in out.iterdir()) == sorted([*pictures, "report.md"])
  for name in pictures:
    assert (out / name).read_bytes().startswith(b"\x89PNG")
  assert {path: text for path, text in digests(tmp_path).items() if path in before} == before


@pytest.mark.parametrize("how", ["nothing there", "damaged"])
def test_the_command_refuses_in_one_line(
  tiny_store: DayStore, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
  arguments: dict[str, tuple[list[str], str]] = {
    "nothing there": (
      ["--store=nowhere"],
      "nowhere is no day store; give the folder that ranking prepare prints",
    ),
    "damaged": ([f"--store={tiny_store.directory}"], "ids.npy is damaged: CRC"),
  }
  path = tiny_store.directory / DAY_NAMES[0] / "ids.npy"
  path.write_bytes(path.read_bytes()[:-1])
  given_, message = arguments[how]
  assert main(["data-report", *given_]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert message in line
