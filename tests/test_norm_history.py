import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.optimizers import AdaGC, ZClip
from ranking.optimizers.clipping import Clip

CLIPS = (AdaGC(1.04, 1.0, 0.75, warmup_steps=3), ZClip(1.5, 0.75, warmup_steps=3))
LENGTHS = st.one_of(st.just(0.0), st.floats(1e-3, 1e3), st.sampled_from([1e-20, 1e-6, 1e6, 1e20]))


def follow(
  clip: Clip,
  norms: list[float],
  everywhere: list[float] | None = None,
  memory: dict[str, float] | None = None,
  first: int = 1,
) -> tuple[list[float], list[dict[str, float]]]:
  """σ and the memory of every step, from the lengths of a gradient and of all gradients."""
  kept = {
    name: tf.constant(value, tf.float64)
    for name, value in (memory or clip.initial_memory()).items()
  }
  if memory:
    kept["norms_seen"] = tf.constant(first - 1, tf.float64)
  sigmas, memories = [], []
  for step, (own, of_all) in enumerate(zip(norms, everywhere or norms, strict=True), start=first):
    mine, of_every = ({"gradient": tf.constant(n, tf.float64) ** 2} for n in (own, of_all))
    sigma, kept = clip.factor_and_memory(mine, of_every, kept, tf.constant(step, tf.float64))
    sigmas.append(float(sigma))
    memories.append({name: float(value) for name, value in kept.items()})
  return sigmas, memories


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_both_measure_the_square_of_the_length(clip: Clip) -> None:
  gradient = tf.constant([[3.0, 0.0], [0.0, -4.0]], tf.float64)
  rate = tf.constant(0.1, tf.float64)
  (square,) = clip.measure(tf.ones_like(gradient), gradient, rate).values()
  assert float(square) == 25
  assert float(clip.join([{"gradient": square}, {"gradient": square}])["gradient"]) == 50


def test_in_adagcs_first_steps_the_length_of_everything_is_clipped() -> None:
  sigmas, _ = follow(AdaGC(warmup_steps=3), [0.6, 0.6, 0.6], everywhere=[0.5, 4.0, 1.0])
  assert sigmas == pytest.approx([1, 1 / 4, 1], rel=1e-12)


def test_in_adagcs_first_steps_the_smallest_clipped_length_is_remembered() -> None:
  clip = AdaGC(absolute_threshold=2.0, warmup_steps=4)
  _, memories = follow(clip, [3.0, 1.0, 3.0, 0.5], everywhere=[4.0, 1.0, 12.0, 1.0])
  averages = [memory["average_norm"] for memory in memories]
  assert averages == pytest.approx([1.5, 1.0, 0.5, 0.5], rel=1e-12)


def test_later_adagc_clips_to_a_multiple_of_the_average_of_clipped_lengths() -> None:
  clip = AdaGC(relative_threshold=1.5, decay=0.75, warmup_steps=1)
  sigmas, memories = follow(clip, [1.0, 6.0, 0.9], everywhere=[1.0, 1e9, 1e9])
  average = 0.75 * 1.0 + 0.25 * 1.5  # 6 is clipped to 1.5 · 1
  assert sigmas == pytest.approx([1, 1.5 / 6, 1], rel=1e-12)
  assert memories[1]["average_norm"] == pytest.approx(average, rel=1e-12)
  assert memories[2]["average_norm"] == pytest.approx(0.75 * average + 0.25 * 0.9, rel=1e-12)


def test_adagc_changes_its_rule_after_the_last_warmup_step() -> None:
  clip = AdaGC(relative_threshold=2.0, absolute_threshold=1.0, warmup_steps=2)
  sigmas, _ = follow(clip, [0.1, 0.1, 0.4], everywhere=[10.0, 10.0, 10.0])
  assert sigmas == pytest.approx([0.1, 0.1, 2 * 0.01 / 0.4], rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 2, 10])
def test_adagc_does_not_remember_a_length_of_zero(warmup: int) -> None:
  clip = AdaGC(decay=0.5, warmup_steps=warmup)
  sigmas, memories = follow(clip, [0.0, 0.5, 0.0, 0.5, 0.0])
  averages = [memory["average_norm"] for memory in memories]
  assert averages == [0, 0.5, 0.5, 0.5, 0.5]
  assert sigmas == [1, 1, 1, 1, 1]


def test_a_variable_that_adagc_first_sees_later_has_a_warmup_of_its_own() -> None:
  clip = AdaGC(decay=0.5, warmup_steps=2, absolute_threshold=100.0)
  sigmas, memories = follow(clip, [0.0, 0.0, 0.0, 16.0, 8.0, 80.0])
  assert sigmas == pytest.approx([1, 1, 1, 1, 1, 1.04 * 8 / 80], rel=1e-12)
  assert [memory["norms_seen"] for memory in memories] == [0, 0, 0, 1, 2, 3]
  assert memories[4]["average_norm"] == pytest.approx(8.0, rel=1e-12)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_steps_without_a_gradient_change_nothing_of_what_comes_later(clip: Clip) -> None:
  norms = [3.0, 2.0, 2.5, 40.0, 3.0, 2.0, 90.0]
  sigmas, memories = follow(clip, norms)
  assert min(sigmas) < 1
  late = [value for norm in norms for value in ([0.0] * 30, norm)]
  flat = [x for value in late for x in (value if isinstance(value, list) else [value])]
  after, of_late = follow(clip, flat, everywhere=[max(norm, 1e-9) for norm in flat])
  assert after[30::31] == sigmas
  assert of_late[30::31] == memories
  assert all(sigma == 1 for sigma, norm in zip(after, flat, strict=True) if norm == 0)


@pytest.mark.parametrize("tiny", [1e-30, 1e-12, 1e-7])
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_a_warmup_of_next_to_nothing_is_no_warmup(clip: Clip, tiny: float) -> None:
  norms = [3.0, 2.0, 2.5, 40.0, 3.0]
  sigmas, memories = follow(clip, norms)
  after, of_late = follow(clip, [tiny] * 30 + norms)
  assert after == [1.0] * 30 + sigmas
  assert of_late[30:] == memories


def test_a_spike_of_others_in_adagcs_warmup_leaves_no_variable_still() -> None:
  clip = AdaGC(warmup_steps=2)
  sigmas, _ = follow(clip, [1.0, 1.0, 1.0, 1.0], everywhere=[1.0, 1e9, 1.0, 1.0])
  assert sigmas == pytest.approx([1, 1e-9, 1, 1], rel=1e-12)


def test_over_zclips_first_steps_mean_and_variance_are_plain_and_nothing_is_clipped() -> None:
  norms = [3.0, 0.5, 1e3, 1e-3, 7.0]
  sigmas, memories = follow(ZClip(warmup_steps=5), norms)
  assert sigmas == [1] * 5
  for step, memory in enumerate(memories, start=1):
    assert memory["mean_norm"] == pytest.approx(np.mean(norms[:step]), rel=1e-12)
    assert memory["variance_of_norm"] == pytest.approx(np.var(norms[:step]), rel=1e-12, abs=1e-20)


def test_zclip_brings_a_high_length_nearer_to_the_mean_the_higher_it_is() -> None:
  start = {"mean_norm": 10.0, "variance_of_norm": 4.0}
  clip = ZClip(threshold=2.0, decay=0.75, warmup_steps=1, epsilon=0.0)
  for norm, clipped in ((13.9, 13.9), (16.0, 10 + 4 / 3 * 2), (50.0, 10 + 4 / 20 * 2)):
    (sigma,), (memory,) = follow(clip, [norm], memory=start, first=2)
    assert sigma * norm == pytest.approx(clipped, rel=1e-12)
    mean = 0.75 * 10 + 0.25 * clipped
    assert memory["mean_norm"] == pytest.approx(mean, rel=1e-12)
    variance = 0.75 * 4 + 0.25 * (clipped - mean) ** 2
    assert memory["variance_of_norm"] == pytest.approx(variance, rel=1e-12)


def test_zclips_epsilon_makes_a_deviation_longer_before_it_is_judged() -> None:
  clip = ZClip(threshold=2.0, warmup_steps=1, epsilon=1.0)
  start = {"mean_norm": 10.0, "variance_of_norm": 4.0}
  sigmas, _ = follow(clip, [15.9], memory=start, first=2)  # not 2 deviations of 3
  assert sigmas == [1]
  sigmas, _ = follow(clip, [19.0], memory=start, first=2)
  assert sigmas[0] * 19 == pytest.approx(10 + 4 / 3 * 2, rel=1e-12)


def test_zclip_leaves_a_low_length_alone() -> None:
  start = {"mean_norm": 10.0, "variance_of_norm": 0.25}
  for norm in (0.0, 1.0, 9.0):
    assert follow(ZClip(warmup_steps=1), [norm], memory=start, first=2)[0] == [1]


def test_lengths_that_never_change_are_never_clipped() -> None:
  for clip in (AdaGC(warmup_steps=3, absolute_threshold=5.0), ZClip(warmup_steps=3)):
    assert follow(clip, [5.0] * 12)[0] == [1] * 12


def test_after_one_spike_the_next_ordinary_lengths_pass() -> None:
  norms = [1.0, 1.1, 0.9, 1.0, 1e6, 1.0, 1.02]
  for clip in (AdaGC(1.2, 10.0, 0.99, warmup_steps=4), ZClip(warmup_steps=4)):
    sigmas, _ = follow(clip, norms)
    assert sigmas[4] < 1e-5
    assert sigmas[5:] == [1, 1]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(CLIPS), st.lists(LENGTHS, min_size=1, max_size=8))
def test_the_factor_is_in_its_range_and_the_memory_stays_finite(
  clip: Clip, norms: list[float]
) -> None:
  sigmas, memories = follow(clip, norms)
  assert all(0 <= sigma <= 1 for sigma in sigmas)
  assert all(sigma > 0 for sigma, norm in zip(sigmas, norms, strict=True) if norm == 0)
  for memory in memories:
    assert all(value >= 0 and np.isfinite(value) for value in memory.values())


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=9), st.sampled_from([-40, -3, 5, 40]))
def test_in_another_unit_of_length_zclip_clips_the_same(norms: list[float], power: int) -> None:
  clip = ZClip(1.0, 0.75, warmup_steps=2, epsilon=0.0)
  once, memories = follow(clip, [1.0, 2.0, *norms])  # so that no deviation is 0
  scaled, of_scaled = follow(clip, [2.0**power * norm for norm in [1.0, 2.0, *norms]])
  assert scaled == pytest.approx(once, rel=1e-9)
  for memory, other in zip(memories, of_scaled, strict=True):
    assert other["mean_norm"] == pytest.approx(2.0**power * memory["mean_norm"], rel=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
  st.floats(1e-3, 1e3),
  st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9),
  st.sampled_from([-40, -3, 5, 40]),
)
def test_after_the_warmup_adagc_clips_the_same_in_another_unit_of_length(
  average: float, norms: list[float], power: int
) -> None:
  clip, unit = AdaGC(decay=0.75, warmup_steps=2, epsilon=0.0), 2.0**power
  once, memories = follow(clip, norms, memory={"average_norm": average}, first=3)
  scaled, of_scaled = follow(
    clip, [unit * norm for norm in norms], memory={"average_norm": unit * average}, first=3
  )
  assert scaled == pytest.approx(once, rel=1e-12)
  for memory, other in zip(memories, of_scaled, strict=True):
    assert other["average_norm"] == pytest.approx(unit * memory["average_norm"], rel=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_after_the_warmup_no_length_exceeds_adagcs_multiple_of_the_average(
  norms: list[float],
) -> None:
  clip = AdaGC(1.25, decay=0.75, warmup_steps=1)
  sigmas, memories = follow(clip, [1.0, *norms])
  for sigma, norm, before in zip(sigmas[1:], norms, memories, strict=False):
    assert sigma * norm <= 1.25 * before["average_norm"] * (1 + 1e-12)


def test_both_start_without_any_memory_and_keep_its_names() -> None:
  names: dict[type[Clip], set[str]] = {
    AdaGC: {"average_norm", "norms_seen"},
    ZClip: {"mean_norm", "variance_of_norm", "norms_seen"},
  }
  for clip in CLIPS:
    assert set(clip.initial_memory()) == names[type(clip)]
    assert set(clip.initial_memory().values()) == {0.0}
    assert set(follow(clip, [1.0])[1][0]) == names[type(clip)]


def test_the_factor_has_the_type_of_its_measures() -> None:
  for clip in CLIPS:
    for dtype in ("float32", "float64"):
      one = tf.constant(1.0, dtype)
      memory = dict.fromkeys(clip.initial_memory(), one)
      sigma, later = clip.factor_and_memory({"gradient": one}, {"gradient": one}, memory, one)
      assert {value.dtype for value in (sigma, *later.values())} == {tf.as_dtype(dtype)}
      assert all(value.shape == () for value in (sigma, *later.values()))
