"""What a person sees of a sweep: lines, or a bar on a terminal, with the time left."""

import pytest

from ranking.sweeps.progress import SweepProgress


class Clock:
  """time.monotonic, as the test sets it."""

  now = 1000.0

  def __call__(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
  clock = Clock()
  monkeypatch.setattr("time.monotonic", clock)
  return clock


def test_every_run_that_ends_is_a_line_with_the_time_left(
  clock: Clock, capsys: pytest.CaptureFixture[str]
):
  with SweepProgress(dict.fromkeys("abcde", "small"), done=1, jobs=2) as progress:
    progress.began("a")
    progress.began("b")
    clock.now += 40
    progress.ended("a", "ok", for_good=True)  # 4 runs of 40 s left, b 40 s old: 120 s for two
    progress.began("c")
    clock.now += 40
    progress.ended("b", "failed: it broke", for_good=False)  # 4 runs of 60 s, c 40 s old
    progress.draw()
  assert capsys.readouterr().out.splitlines() == [
    "2/6 a: ok after 40 s; 60 s left",
    "2/6 b: failed: it broke after 80 s; 2 min left",
  ]


def test_runs_to_come_are_expected_to_take_as_long_as_their_kind(
  clock: Clock, capsys: pytest.CaptureFixture[str]
):
  kinds = {"a": "small", "b": "small", "c": "large", "d": "large"}
  with SweepProgress(kinds, done=0, jobs=1) as progress:
    for name, seconds in (("a", 10), ("c", 60)):
      progress.began(name)
      clock.now += seconds
      progress.ended(name, "ok", for_good=True)
  assert capsys.readouterr().out.splitlines() == [
    "1/4 a: ok after 10 s; at least 30 s left",  # nothing large has ended yet
    "2/4 c: ok after 60 s; 70 s left",
  ]


def test_long_times_are_minutes_and_hours(clock: Clock, capsys: pytest.CaptureFixture[str]):
  with SweepProgress(dict.fromkeys("abcdefghijklmnopqrstuv", "small"), done=0, jobs=1) as progress:
    progress.began("a")
    clock.now += 600
    progress.ended("a", "ok", for_good=True)
  assert capsys.readouterr().out == "1/22 a: ok after 600 s; 3 h 30 min left\n"


def test_a_terminal_has_a_bar_below_the_lines(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("COLUMNS", "120")
  with SweepProgress(dict.fromkeys("ab", "small"), done=0, jobs=1) as progress:
    progress.began("a")
    progress.draw()
    progress.ended("a", "ok", for_good=True)
    progress.draw()
  printed = capsys.readouterr().out
  for text in ("run 0/2", "1/2 a: ok after 0 s\n", "run 1/2", "━━━", "0 s left"):
    assert text in printed
