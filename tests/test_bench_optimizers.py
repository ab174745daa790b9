"""The optimizer benchmark counts, pairs and prints what it says it does; no time is judged."""

import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from scripts import bench_optimizers as bench

SCALE = 1 / 64
OURS = [name for name in bench.RULES if bench.RULES[name].guard]


@pytest.fixture
def give() -> Iterator[Callable[..., None]]:
  """Sets flags until the end of the test; the sizes are tiny."""
  with flagsaver.flagsaver():
    yield lambda *given: flags.FLAGS(
      ["bench_optimizers", f"--width_scale={SCALE}", "--batch=8", *given]
    )


def made_up(names: Iterable[str], rounds: int, seed: int) -> bench.Seconds:
  """Seconds of rounds so different that the ratio of medians is not the median ratio."""
  random = np.random.default_rng(seed)
  return {name: list(random.uniform(0.1, 1.0, rounds)) for name in names}


def given_back(seconds: object, asked: list[int]) -> Callable[..., object]:
  """In the place of a function that measures: notes its last argument, the rounds."""

  def measured(*arguments: Any) -> object:
    asked.append(arguments[-1])
    return seconds

  return measured


def rows(printed: str, title: str) -> dict[str, list[str]]:
  """The cells of a table's rows by the name in their first column; its end is a blank line."""
  lines = printed.partition(title)[2].splitlines()
  start = next(k for k, line in enumerate(lines) if "───" in line) + 1
  end = next(k for k in range(start, len(lines)) if not lines[k].strip())
  cells = [re.split(r" {2,}", line.strip()) for line in lines[start:end]]
  return {name: rest for name, *rest in cells}


def test_the_shapes_are_those_of_large_beside_its_embeddings() -> None:
  assert sum(int(np.prod(shape)) for shape in bench.shapes()) == 57_131_014
  model, _ = bench.large(SCALE, 4)
  dense = [v for v in model.trainable_variables if "embedding" not in v.name]
  assert bench.shapes(SCALE) == [tuple(variable.shape) for variable in dense]
  assert model.parameter_counts()["non_embedding"] == sum(
    int(np.prod(shape)) for shape in bench.shapes(SCALE)
  )


@pytest.mark.parametrize("name", OURS)
def test_a_measure_is_counted_as_reading_what_its_numbers_depend_on(name: str) -> None:
  rule, optimizer = bench.RULES[name], bench.RULES[name].make()
  random = np.random.default_rng(0)
  letters = "wg" + rule.slots
  start = {letter: tf.constant(random.uniform(0.1, 1.0, [6, 4])) for letter in letters}

  def measures(values: dict[str, tf.Tensor]) -> list[np.ndarray]:
    names = optimizer.direction.initial_slots()
    slots = {slot: values[letter] for slot, letter in zip(names, rule.slots, strict=True)}
    one = tf.ones([], tf.float64)
    tensor = values["g"]
    if optimizer.clip.acts_on == "direction":
      tensor, _ = optimizer.direction(tensor, slots, values["w"], one)
    found = optimizer.clip.measure(values["w"], tensor, one)
    return [found[key].numpy() for key in sorted(found)]

  before = measures(start)
  reads = ""
  for letter in letters:
    after = measures({**start, letter: 2.0 * start[letter]})
    if any((one != other).any() for one, other in zip(before, after, strict=True)):
      reads += letter
  assert rule.measure == reads


def test_an_update_reads_the_gradient_once_more_to_guard_and_writes_weights_and_slots() -> None:
  passes = {name: rule.passes() for name, rule in bench.RULES.items()}
  assert passes["naive"] == 1 + 3 + 2
  assert passes["clippy"] == 1 + 3 + 3 + 2
  assert passes["clippy on Adam"] == 1 + 4 + 4 + 3
  assert passes[bench.KERAS_ADAGRAD] == 3 + 2
  assert passes[bench.KERAS_ADAM] == 4 + 3
  assert bench.RULES["clippy"].counted() == "g | wgG | wgG → wG"


def test_every_round_runs_everybody_and_starts_with_another(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  now, calls = [0.0], []
  monkeypatch.setattr(time, "perf_counter", lambda: now[0])

  def contestant(name: str, seconds: float) -> Callable[[], object]:
    def run() -> None:
      calls.append(name)
      now[0] += seconds * len(calls)

    return run

  seconds = bench.interleaved(
    {n: contestant(n, s) for n, s in zip("abc", (1, 2, 4), strict=True)}, 3
  )
  assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
  assert seconds == {"a": [4, 9, 11], "b": [2 * 5, 2 * 7, 2 * 12], "c": [4 * 6, 4 * 8, 4 * 10]}


def test_a_ratio_is_taken_within_a_round() -> None:
  seconds = {"a": [1.0, 10.0, 6.0], "b": [1.0, 5.0, 1.0]}
  assert bench.ratios(seconds, "a", "b") == [1.0, 2.0, 6.0]


def test_the_printed_ratios_are_those_of_one_run(
  give: Callable[..., None],
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
) -> None:
  give("--rounds=7", "--repeats=3")
  asked: list[int] = []
  updates = made_up([*bench.RULES, bench.IN_PLACE_ADD], 7, seed=1)
  forward = made_up(["fb"], 3, seed=2)["fb"]
  whole = made_up(["naive", "clippy", "lamb"], 3, seed=3)
  for function, seconds in (
    ("time_updates", updates),
    ("time_forward_and_backward", forward),
    ("time_whole_steps", whole),
  ):
    monkeypatch.setattr(bench, function, given_back(seconds, asked))
  assert bench.main(["bench_optimizers"]) == 0
  assert asked == [7, 3, 3]
  printed = capsys.readouterr().out

  def median(values: list[float]) -> float:
    return statistics.median(values)

  def within(name: str, other: str) -> list[float]:
    return [a / b for a, b in zip(updates[name], updates[other], strict=True)]

  def quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.2f} … {high:.2f}"

  table = rows(printed, "1. An update")
  assert list(table) == list(bench.RULES)
  for name, cells in table.items():
    plain = within(name, "tf_keras Adam" if "Adam" in name.split() else "tf_keras Adagrad")
    tfrs = within(name, "TFRS Clippy")
    expected = [f"{1e3 * median(updates[name]):.2f}", f"{median(plain):.2f}", quartiles(plain)]
    adam = "Adam" in name.split()
    expected += ["–", "–"] if adam else [f"{median(tfrs):.2f}", quartiles(tfrs)]
    goal = {"gc": 1.0, "agc": 1.2, "agc layer": 1.2, "lamb": 1.0, "clippy": 1.0}.get(name)
    if goal is not None:
      expected.append(f"≤ {goal:.2f} {'ok' if median(plain) <= goal else 'missed'}")
    assert cells == expected
  faster = median(within("TFRS Clippy", "clippy"))
  verdict = "ok" if faster >= 2.5 else "missed"
  assert f"clippy is {faster:.2f} times as fast as TFRS Clippy; goal ≥ 2.5: {verdict}\n" in printed

  table = rows(printed, "2. Memory")
  assert list(table) == [*bench.RULES, bench.IN_PLACE_ADD]
  parameters = sum(int(np.prod(shape)) for shape in bench.shapes(SCALE))
  for name, cells in table.items():
    passes = 3 if name == bench.IN_PLACE_ADD else bench.RULES[name].passes()
    speeds = [4 * parameters * passes / 1e9 / s for s in updates[name]]
    share = [passes / 3 * b for b in within(bench.IN_PLACE_ADD, name)]
    assert cells[1:] == [
      *(str(passes), f"{4 * parameters * passes / 1e9:.3f}"),
      *(f"{median(speeds):.2f}", f"{median(share):.2f}"),
    ]

  table = rows(printed, "3. A whole step")
  assert list(table) == [name for name in OURS if name != "clippy on Adam"]
  fb, naive = median(forward), median(updates["naive"])
  for name, cells in table.items():
    own = median(updates[name])
    expected = [f"{1e3 * own:.2f}", f"{100 * own / (fb + own):.2f} %"]
    ratio = (fb + own) / (fb + naive)
    expected += [f"{ratio:.4f}", f"≤ 1.01 {'ok' if ratio <= 1.01 else 'missed'}"]
    if name in ("naive", "clippy", "lamb"):
      direct = [a / b for a, b in zip(whole[name], whole["naive"], strict=True)]
      expected += [f"{median(whole[name]):.2f}", f"{median(direct):.3f}"]
      expected.append(f"{min(direct):.3f} … {max(direct):.3f}")
    assert cells == expected


def test_a_tiny_run_prints_every_rule_in_three_tables(
  give: Callable[..., None],
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
  caplog: pytest.LogCaptureFixture,
) -> None:
  monkeypatch.setattr(tf.get_logger(), "propagate", True)
  monkeypatch.setattr(bench, "HIDDEN_UNITS", (4096,))  # fewer variables are faster to trace
  monkeypatch.setattr(bench, "HEADS", 1)
  give("--rounds=2", "--repeats=1")
  assert bench.main(["bench_optimizers"]) == 0
  out = capsys.readouterr().out
  assert "0.0 M parameters (1,793) in 4 variables, float32; 2 rounds of updates" in out
  assert list(rows(out, "1. An update")) == list(bench.RULES)
  assert list(rows(out, "2. Memory")) == [*bench.RULES, bench.IN_PLACE_ADD]
  steps = rows(out, "3. A whole step of Large at batch 8:")
  direct = [name for name, cells in steps.items() if len(cells) == 7]
  assert direct == ["naive", "lamb", "clippy"]
  assert steps["naive"][-2:] == ["1.000", "1.000 … 1.000"]
  assert "retracing" not in caplog.text


def test_a_quick_run_times_no_whole_steps(
  give: Callable[..., None],
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
) -> None:
  give("--quick", "--rounds=7", "--repeats=3")
  asked: list[int] = []
  updates = made_up([*bench.RULES, bench.IN_PLACE_ADD], 5, seed=1)
  monkeypatch.setattr(bench, "time_updates", given_back(updates, asked))
  forward = made_up(["fb"], 2, seed=2)["fb"]
  monkeypatch.setattr(bench, "time_forward_and_backward", given_back(forward, asked))
  monkeypatch.delattr(bench, "time_whole_steps")
  assert bench.main(["bench_optimizers"]) == 0
  assert asked == [5, 2]
  out = capsys.readouterr().out
  assert "5 rounds of updates" in out
  assert {len(cells) for cells in rows(out, "3. A whole step").values()} == {4}
  assert "not with --quick" in out


def test_a_word_that_is_no_flag_is_refused_in_one_line(
  capsys: pytest.CaptureFixture[str],
) -> None:
  assert bench.main(["bench_optimizers", "quick"]) == 2
  assert capsys.readouterr().err == "error: 'quick' is no flag; see --help\n"


def test_the_rules_are_set_as_their_names_say() -> None:
  clips = {name: bench.RULES[name].make().clip for name in OURS}
  assert clips["agc"].unit == "output"
  assert clips["agc layer"].unit == "layer"
  kinds = [type(clips[name]).__name__ for name in ("naive", "gc", "lamb", "clippy", "layer_clippy")]
  assert kinds == ["NoClip", "GradientClipping", "Lamb", "Clippy", "LayerClippy"]
  kinds = [
    type(clips[name]).__name__ for name in ("rms_clip", "ada_gc", "z_clip", "clippy on Adam")
  ]
  assert kinds == ["RmsClip", "AdaGC", "ZClip", "Clippy"]


def test_tfrs_clippy_is_timed_at_what_ours_is() -> None:
  random = np.random.default_rng(0)
  gradients = random.normal(size=(3, 5, 4)).astype(np.float32)
  ends = []
  for name in (bench.TFRS_CLIPPY, "clippy"):
    optimizer = bench.RULES[name].make()
    optimizer.build([variable := tf.Variable(tf.ones([5, 4]))])
    optimizer.learning_rate = 1.0  # so that it clips
    for gradient in gradients:
      optimizer.apply_gradients([(tf.constant(gradient), variable)])
    ends.append(variable.numpy())
  np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6, atol=1e-6)


def test_the_time_of_a_step_that_was_skipped_is_not_printed(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr(bench, "RULES", {"naive": bench.RULES["naive"]})
  monkeypatch.setattr(bench, "DIRECT", ("naive",))
  monkeypatch.setattr(bench, "_normal", lambda random, shape, scale: tf.fill(shape, np.nan))
  with pytest.raises(RuntimeError, match="naive: 2 steps were not finite"):
    bench.time_updates(SCALE, 1)
  with pytest.raises(RuntimeError, match="naive: 2 steps were not finite"):
    bench.time_whole_steps(*bench.large(SCALE, 4), 1)
