import functools
import json
from collections.abc import Callable
from typing import Any

import gin
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.optimizers import ClippedOptimizer, NoClip, Sgd
from ranking.optimizers.schedules import Cosine, InverseSquareRoot, LinearWarmUp

Schedule = LinearWarmUp | InverseSquareRoot | Cosine

SCHEDULES: dict[str, Schedule] = {
  "linear": LinearWarmUp(0.3, 7),
  "linear, no warm-up": LinearWarmUp(0.3, 0),
  "linear, long": LinearWarmUp(0.3, 10**9),
  "inverse square root": InverseSquareRoot(0.3, 7),
  "inverse square root, one step": InverseSquareRoot(0.3, 1),
  "inverse square root, long": InverseSquareRoot(2e-4, 10**9),
  "cosine": Cosine(0.3, 7, 30),
  "cosine, floor": Cosine(0.3, 7, 30, 0.1),
  "cosine, no warm-up": Cosine(0.3, 0, 30, 0.25),
  "cosine, one step down": Cosine(0.3, 7, 8),
  "cosine, all floor": Cosine(0.3, 7, 30, 1),
  "cosine, long": Cosine(5, 10**6, 2 * 10**9, 0.1),
  "cosine, late": Cosine(0.3, 10**9, 10**9 + 8),
}
# Every step around the warm-ups and totals above, among them steps that float32 does not tell
# apart, and one that int32 does not hold.
TAKEN = np.array(
  [*range(60), 10**6 - 1, 10**6, *range(10**9 - 3, 10**9 + 10), 2 * 10**9 - 1, 3 * 10**9]
)

WAYS: dict[str, Callable[[Any], Any]] = {
  "eager": lambda function: function,
  "graph": tf.function,
  "XLA": functools.partial(tf.function, jit_compile=True),
}

PEAKS = st.floats(1e-6, 1e3)
WARMUPS = st.integers(1, 10**6)
FLOORS = st.floats(0, 1)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
  """Any of the three, with at least one warm-up step."""
  peak, warmup = draw(PEAKS), draw(WARMUPS)
  cosine = Cosine(peak, warmup, warmup + draw(st.integers(1, 10**9)), draw(FLOORS))
  return draw(
    st.sampled_from([LinearWarmUp(peak, warmup), InverseSquareRoot(peak, warmup), cosine])
  )


def expected(schedule: Schedule, taken: Array) -> Array:
  """The rates in float64, as the formulas have them."""
  number, peak, warmup = taken.astype(np.float64) + 1, schedule.peak, schedule.warmup_steps
  rising = number / warmup if warmup else np.full_like(number, np.inf)
  match schedule:
    case LinearWarmUp():
      return peak * np.minimum(1, rising)
    case InverseSquareRoot():
      return peak * np.minimum(rising, np.sqrt(warmup / number))
    case Cosine():
      total, floor = schedule.total_steps, schedule.floor
      done = np.minimum(1, (number - warmup) / (total - warmup))
      falling = floor + (1 - floor) * (1 + np.cos(np.pi * done)) / 2
      return peak * np.where(number < warmup, rising, falling)


def rates(schedule: Schedule, taken: Any) -> Array:
  """The rates after several counts of steps, in float64."""
  return np.asarray(schedule(tf.constant(taken, tf.int64)), np.float64)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_rate_equals_its_formula(name: str, way: str) -> None:
  schedule = SCHEDULES[name]
  made = WAYS[way](schedule.__call__)(tf.constant(TAKEN, tf.int64))
  np.testing.assert_allclose(
    made, expected(schedule, TAKEN), rtol=1e-6, atol=3e-7 * schedule.peak * ("cosine" in name)
  )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["linear", "inverse square root", "cosine, floor"])
def test_a_rate_is_a_float32_scalar(name: str, way: str) -> None:
  rate = WAYS[way](SCHEDULES[name].__call__)
  for taken in (0, 12, 10**9):
    made = rate(tf.constant(taken, tf.int64))
    assert made.dtype == tf.float32
    assert made.shape == ()
    assert float(made) == pytest.approx(expected(SCHEDULES[name], np.array(taken)), rel=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_count_may_be_a_variable_or_a_plain_number(name: str) -> None:
  schedule = SCHEDULES[name]
  as_tensor = float(schedule(tf.constant(12, tf.int64)))
  assert float(schedule(12)) == as_tensor
  assert float(schedule(tf.Variable(12, dtype=tf.int64))) == as_tensor


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_has_a_rate(name: str) -> None:
  assert float(SCHEDULES[name](0)) > 0


@given(schedule=schedules(), taken=st.lists(st.integers(0, 2 * 10**9), max_size=20))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_no_rate_is_above_the_peak_or_negative(schedule: Schedule, taken: list[int]) -> None:
  warmup = schedule.warmup_steps
  made = rates(schedule, [0, warmup - 1, warmup, *taken])
  assert made.min() >= 0
  assert made.max() == np.float32(schedule.peak)


@given(schedule=schedules(), data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_rates_rise_to_the_end_of_the_warm_up_and_never_after(
  schedule: Schedule, data: st.DataObject
) -> None:
  last = schedule.warmup_steps - 1
  before = data.draw(st.sets(st.integers(0, last), max_size=20))
  assert (np.diff(rates(schedule, sorted({0, *before, last}))) > 0).all()
  after = data.draw(st.sets(st.integers(last, 2 * 10**9), max_size=20))
  falling = np.diff(rates(schedule, sorted({last, last + 1, *after})))
  assert (falling <= 2e-7 * schedule.peak).all()  # a cosine in float32 may be off by its last digit


@given(schedule=schedules())
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_end_of_the_warm_up_is_the_peak_and_no_jump(schedule: Schedule) -> None:
  warmup = schedule.warmup_steps
  before, at, after = rates(schedule, [max(warmup - 2, 0), warmup - 1, warmup]) / schedule.peak
  assert at == pytest.approx(1, rel=1e-7)
  assert at - before <= 1 / warmup + 1e-6
  steepest = np.pi / 2 / (schedule.total_steps - warmup) if isinstance(schedule, Cosine) else 0
  assert at - after <= (steepest or 1 / warmup) + 1e-6


@given(peak=PEAKS, warmup=WARMUPS, later=st.integers(0, 10**9))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_four_times_the_steps_halve_the_rate_of_an_inverse_square_root(
  peak: float, warmup: int, later: int
) -> None:
  number = warmup + later
  one, four = rates(InverseSquareRoot(peak, warmup), [number - 1, 4 * number - 1])
  assert four == pytest.approx(one / 2, rel=1e-6)


@given(
  peak=PEAKS,
  warmup=st.integers(0, 10**6),
  half=st.integers(1, 10**9),
  floor=FLOORS,
  later=st.integers(0, 10**9),
)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_cosine_is_half_way_at_half_time_and_stays_at_its_floor(
  peak: float, warmup: int, half: int, floor: float, later: int
) -> None:
  schedule = Cosine(peak, warmup, warmup + 2 * half, floor)
  last = schedule.total_steps - 1
  middle, end, after = rates(schedule, [last - half, last, last + later]) / peak
  assert middle == pytest.approx((1 + floor) / 2, rel=1e-6)
  assert end == pytest.approx(floor, rel=1e-6, abs=1e-12)
  assert after == end


def test_a_cosine_ends_at_0_unless_told_otherwise() -> None:
  assert float(Cosine(0.3, 7, 30)(29)) == 0


@pytest.mark.parametrize(("warmup", "floor"), [(0, 0.0), (0, 0.2), (1, 0.0), (10, 0.0), (10, 0.2)])
def test_a_cosine_is_one_step_ahead_of_that_of_tf_keras(warmup: int, floor: float) -> None:
  peak, total = 0.3, 50
  if warmup:
    theirs = tf_keras.optimizers.schedules.CosineDecay(
      *(0.0, total - warmup, floor), warmup_target=peak, warmup_steps=warmup
    )
  else:
    theirs = tf_keras.optimizers.schedules.CosineDecay(peak, total, floor)
  ours = Cosine(peak, warmup, total, floor)
  for taken in range(total + 10):
    # Theirs gives the first step, before which none was taken, the rate 0.
    assert float(ours(taken)) == pytest.approx(float(theirs(taken + 1)), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_round_trip_keeps_the_schedule(name: str) -> None:
  schedule = SCHEDULES[name]
  assert type(schedule).from_config(schedule.get_config()) == schedule
  text = json.dumps(tf_keras.optimizers.schedules.serialize(schedule))
  assert f'"ranking>{type(schedule).__name__}"' in text
  assert tf_keras.optimizers.schedules.deserialize(json.loads(text)) == schedule


def test_a_config_names_every_argument() -> None:
  assert Cosine(0.5, 3, 9, 0.25).get_config() == {
    "peak": 0.5,
    "warmup_steps": 3,
    "total_steps": 9,
    "floor": 0.25,
  }
  for kind in (LinearWarmUp, InverseSquareRoot):
    assert kind(0.5, 3).get_config() == {"peak": 0.5, "warmup_steps": 3}


@pytest.mark.parametrize("as_json", [False, True], ids=["config", "tf_keras JSON"])
@pytest.mark.parametrize("name", ["linear", "inverse square root", "cosine, floor"])
def test_a_round_trip_of_the_optimizer_keeps_the_schedule(name: str, as_json: bool) -> None:
  optimizer = ClippedOptimizer(Sgd(), NoClip(), SCHEDULES[name])
  if as_json:
    text = json.dumps(tf_keras.optimizers.serialize(optimizer))
    copy = tf_keras.optimizers.deserialize(json.loads(text))
  else:
    copy = ClippedOptimizer.from_config(optimizer.get_config())
  assert copy.get_config() == optimizer.get_config()
  weights = [tf.Variable(0.0), tf.Variable(0.0)]
  for _ in range(9):
    for one, weight in zip((optimizer, copy), weights, strict=True):
      one.apply_gradients([(tf.constant(1.0), weight)])
  assert float(weights[0]) == float(weights[1]) < 0


@pytest.mark.parametrize("way", ["eager", "graph"])
@pytest.mark.parametrize("name", ["linear", "inverse square root", "cosine, floor"])
def test_steps_are_as_long_as_the_schedule_says_and_a_skipped_one_does_not_count(
  name: str, way: str
) -> None:
  schedule, weight = SCHEDULES[name], tf.Variable(0.0, dtype=tf.float64)
  optimizer = ClippedOptimizer(Sgd(), NoClip(), schedule)
  optimizer.build([weight])

  def step(gradient: tf.Tensor, loss: tf.Tensor) -> None:
    optimizer.apply_gradients([(gradient, weight)], loss=loss)

  step = WAYS[way](step)
  one, bad = tf.constant(1.0, tf.float64), tf.constant(np.nan, tf.float64)
  for taken, rate in enumerate(expected(schedule, np.arange(35))):
    before = float(weight)
    if taken in (0, 3, 6, 7, 20):  # at the start, on the way up, at the peak, on the way down
      step(bad, one)
      step(one, bad)
      assert float(weight) == before
      assert int(optimizer.iterations) == taken
    step(one, one)
    assert before - float(weight) == pytest.approx(rate, rel=1e-6)
  assert int(optimizer.skipped_steps) == 10


def test_gin_binds_all_but_the_peak() -> None:
  gin.clear_config()
  try:
    gin.parse_config("""
      from __gin__ import dynamic_registration
      from ranking.optimizers import schedules
      schedules.Cosine.warmup_steps = 3
      schedules.Cosine.total_steps = 9
      schedules.Cosine.floor = 0.5
    """)
    schedule = gin.get_configurable(Cosine)(0.25)
  finally:
    gin.clear_config()
  assert schedule == Cosine(0.25, 3, 9, 0.5)


@pytest.mark.parametrize("peak", [0, -0.1, np.inf, np.nan, "0.1", None, True])
@pytest.mark.parametrize(
  "kind",
  [LinearWarmUp, InverseSquareRoot, functools.partial(Cosine, total_steps=9)],
  ids=["linear", "inverse square root", "cosine"],
)
def test_a_peak_that_is_no_positive_number_is_named(
  kind: Callable[..., Schedule], peak: Any
) -> None:
  with pytest.raises(ValueError, match=f"^peak is {peak!r}; make it a positive finite number$"):
    kind(peak, warmup_steps=3)


@pytest.mark.parametrize("warmup", [-1, 2.0, "3", None, True])
@pytest.mark.parametrize(
  ("kind", "least"),
  [(LinearWarmUp, 0), (InverseSquareRoot, 1), (functools.partial(Cosine, total_steps=9), 0)],
  ids=["linear", "inverse square root", "cosine"],
)
def test_a_warm_up_of_no_whole_number_of_steps_is_named(
  kind: Callable[..., Schedule], least: int, warmup: Any
) -> None:
  cure = f"make it a whole number, {least} or more"
  with pytest.raises(ValueError, match=f"^warmup_steps is {warmup!r}; {cure}$"):
    kind(0.1, warmup_steps=warmup)


def test_an_inverse_square_root_without_warm_up_is_refused() -> None:
  with pytest.raises(ValueError, match=r"^warmup_steps is 0; make it a whole number, 1 or more$"):
    InverseSquareRoot(0.1, 0)


@pytest.mark.parametrize("total", [2, 3, 9.0, "9", None, True])
def test_a_total_not_above_the_warm_up_is_named(total: Any) -> None:
  cure = "make it a whole number above warmup_steps, 3"
  with pytest.raises(ValueError, match=f"^total_steps is {total!r}; {cure}$"):
    Cosine(0.1, 3, total)


@pytest.mark.parametrize("floor", [-0.1, 1.1, np.nan, "0", None, True])
def test_a_floor_that_is_no_share_is_named(floor: Any) -> None:
  cure = "make it a share of the peak, from 0 to 1"
  with pytest.raises(ValueError, match=f"^floor is {floor!r}; {cure}$"):
    Cosine(0.1, 3, 9, floor)
