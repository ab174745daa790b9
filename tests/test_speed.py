"""How fast a run trains: what is counted, and what is left out."""

import dataclasses
import json

import pytest

from ranking.training.speed import Speed


def calls(speed: Speed, *observing: bool) -> None:
  """Times calls over 1,000 examples each."""
  for each in observing:
    with speed.of(1000, each):
      pass


def test_speed_leaves_out_the_call_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 102.0, 104.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  speed = Speed()
  assert speed.examples_per_second == 0.0
  calls(speed, False)
  assert speed.examples_per_second == 10.0
  calls(speed, False, False)
  assert speed.examples_per_second == 500.0


def test_what_is_no_training_is_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
  clock = iter([0.0, 5.0, 5.0, 7.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  speed = Speed()
  for _ in range(2):
    with speed.apart("evaluations"):
      pass
  assert speed.seconds_apart == {"evaluations": 7.0}
  assert speed.examples_per_second == 0.0


def test_speed_leaves_out_the_first_call_that_observes_as_it_compiles_anew(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 102.0, 302.0, 302.0, 306.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  speed = Speed()
  calls(speed, False, False, True, True)
  assert speed.examples_per_second == 2000 / 6


def test_speed_goes_on_over_a_resume_without_the_call_that_compiles_again(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 200.0, 300.0, 300.0, 304.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  before = Speed()
  calls(before, False, False)
  after = Speed(**json.loads(json.dumps(dataclasses.asdict(before))))
  assert after.examples_per_second == 500.0  # of a run that is stopped at its last step as well
  calls(after, False, False)
  assert after.examples_per_second == 2000 / 6
