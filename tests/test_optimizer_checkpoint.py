"""The optimizer's slots, memory and counts in checkpoints and saved models: by name, to the bit."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.optimizers import AdaGC, Adagrad, Adam, ClippedOptimizer, NoClip, Sgd, ZClip

RATE = 0.125
NONE = "^$"  # as `exclude`: finds no variable
STEPS, SAVED_AFTER = 6, 3

RANDOM = np.random.default_rng(0)
SHAPES = {"hidden/kernel": (5, 3), "hidden/bias": (3,), "table": (8, 3)}
START = {name: RANDOM.normal(size=shape) for name, shape in SHAPES.items()}
GRADIENTS = {name: RANDOM.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}
ROWS = RANDOM.integers(0, 8, size=(STEPS, 8))

Make = Callable[[], ClippedOptimizer]


def adagrad_adagc() -> ClippedOptimizer:
  """A slot and a number of memory for each variable."""
  return ClippedOptimizer(Adagrad(), AdaGC(1.5, 3.0, 0.75, 2), RATE, exclude=NONE)


def adam_zclip() -> ClippedOptimizer:
  """Two slots and two numbers of memory for each variable, a rate that changes with the steps."""
  rate = tf_keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.75)
  return ClippedOptimizer(Adam(), ZClip(1.25, 0.75, 2), rate, exclude=NONE)


MAKERS = pytest.mark.parametrize("make", [adagrad_adagc, adam_zclip])


def weights(reverse: bool = False) -> dict[str, tf.Variable]:
  """Kernel, bias and table; or the same, created the other way round."""
  names = sorted(SHAPES, reverse=reverse)
  return {name: tf.Variable(START[name], dtype=tf.float32, name=name) for name in names}


def take_steps(
  optimizer: ClippedOptimizer, variables: dict[str, tf.Variable], steps: range
) -> None:
  """Some of the steps, and one that is skipped."""
  for k in steps:
    pairs: list[Any] = []
    for name, variable in variables.items():
      gradient: Any = tf.constant(GRADIENTS[name][k], tf.float32)
      if name == "table":
        gradient = tf.IndexedSlices(gradient, tf.constant(ROWS[k]), variable.shape)
      pairs.append((gradient, variable))
    optimizer.apply_gradients(pairs)
  optimizer.apply_gradients([(tf.fill(v.shape, np.nan), v) for v in variables.values()])


def state(optimizer: ClippedOptimizer, variables: dict[str, tf.Variable]) -> dict[str, bytes]:
  """Every value by name, to the bit."""
  named = {**variables, **optimizer._by_name}
  return {name: variable.numpy().tobytes() for name, variable in named.items()}


def written(make: Make, folder: Path) -> tuple[str, ClippedOptimizer, dict[str, tf.Variable]]:
  """A checkpoint of optimizer and weights after some steps, and both."""
  optimizer, variables = make(), weights()
  take_steps(optimizer, variables, range(SAVED_AFTER))
  named = {name.replace("/", "|"): variable for name, variable in variables.items()}
  path = tf.train.Checkpoint(optimizer=optimizer, weights=named).write(str(folder / "checkpoint"))
  return path, optimizer, variables


# tf.train.Checkpoint


@MAKERS
@pytest.mark.parametrize("built_first", [True, False], ids=["after build", "before build"])
def test_a_run_continued_from_a_checkpoint_equals_the_straight_run_bit_for_bit(
  built_first: bool, make: Make, tmp_path: Path
) -> None:
  path, straight, expected = written(make, tmp_path)
  restored, variables = make(), weights(reverse=True)
  if built_first:
    restored.build(list(variables.values()))
  named = {name.replace("/", "|"): variable for name, variable in variables.items()}
  status = tf.train.Checkpoint(optimizer=restored, weights=named).read(path)
  restored.build(list(variables.values()))
  status.assert_consumed()
  status.assert_existing_objects_matched()
  assert state(restored, variables) == state(straight, expected)
  assert int(restored.iterations) == SAVED_AFTER
  assert int(restored.skipped_steps) == 1
  take_steps(straight, expected, range(SAVED_AFTER, STEPS))
  take_steps(restored, variables, range(SAVED_AFTER, STEPS))
  assert state(restored, variables) == state(straight, expected)


def test_every_slot_and_number_of_memory_is_in_the_checkpoint_under_its_name(
  tmp_path: Path,
) -> None:
  path, optimizer, variables = written(adagrad_adagc, tmp_path)
  stored = dict(tf.train.list_variables(path))
  for name, variable in optimizer._by_name.items():
    escaped = name.replace(".", ".S")
    key = f"optimizer/_by_name/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"
    assert stored.pop(key) == variable.shape.as_list()
  assert sorted(key for key in stored if key.startswith("optimizer/")) == []
  kinds = {name.split("|")[0] for name in optimizer._by_name}
  assert kinds == {
    *("accumulator", "average_norm", "clipping_factor"),
    *("iterations", "skipped_steps", "skipped_in_a_row", "learning_rate"),
  }
  assert len(optimizer._by_name) == 3 * len(variables) + 4


@pytest.mark.parametrize(
  ("make", "missing"),
  [
    (lambda: ClippedOptimizer(Adagrad(), ZClip(), RATE, exclude=NONE), "mean_norm"),
    (lambda: ClippedOptimizer(Sgd(0.5), AdaGC(), RATE, exclude=NONE), "velocity"),
  ],
  ids=["memory", "slot"],
)
@pytest.mark.parametrize("built_first", [True, False], ids=["after build", "before build"])
def test_a_slot_that_the_checkpoint_has_not_is_an_error(
  built_first: bool, make: Make, missing: str, tmp_path: Path
) -> None:
  path, *_ = written(adagrad_adagc, tmp_path)
  optimizer, variables = make(), list(weights().values())
  if built_first:
    optimizer.build(variables)
  status = tf.train.Checkpoint(optimizer=optimizer).read(path).expect_partial()
  optimizer.build(variables)
  with pytest.raises(AssertionError, match=missing):
    status.assert_existing_objects_matched()


@pytest.mark.parametrize(
  ("make", "extra"),
  [
    (lambda: ClippedOptimizer(Adagrad(), NoClip(), RATE), "average_norm"),
    (lambda: ClippedOptimizer(Sgd(), AdaGC(), RATE, exclude=NONE), "accumulator"),
  ],
  ids=["memory", "slot"],
)
@pytest.mark.parametrize("built_first", [True, False], ids=["after build", "before build"])
def test_a_slot_that_only_the_checkpoint_has_is_named(
  built_first: bool, make: Make, extra: str, tmp_path: Path
) -> None:
  _, saved, _ = written(adagrad_adagc, tmp_path)
  path = tf.train.Checkpoint(optimizer=saved).write(str(tmp_path / "optimizer"))
  optimizer, variables = make(), list(weights().values())
  if built_first:
    optimizer.build(variables)
  status = tf.train.Checkpoint(optimizer=optimizer).read(path).expect_partial()
  optimizer.build(variables)
  status.assert_existing_objects_matched()
  with pytest.raises(AssertionError, match=extra):
    status.assert_consumed()


@pytest.mark.parametrize(
  "names",
  [
    ["a", "a", "b"],
    ["a", "a", "a_1"],
    ["a/b", "a|b", "b"],
  ],
  ids=" ".join,
)
def test_variables_of_one_name_keep_their_own_slots(names: list[str], tmp_path: Path) -> None:
  def made() -> tuple[ClippedOptimizer, list[tf.Variable]]:
    variables = [tf.Variable([1.0, 2.0], name=name) for name in names]
    optimizer = adagrad_adagc()
    optimizer.build(variables)
    return optimizer, variables

  (optimizer, variables), (restored, _) = made(), made()
  for size in (1.0, 3.0):
    optimizer.apply_gradients(
      [(tf.fill([2], size * (k + 1)), variable) for k, variable in enumerate(variables)]
    )
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "checkpoint"))
  tf.train.Checkpoint(optimizer=restored).read(path).assert_consumed()
  accumulators = [slots["accumulator"].numpy() for slots in optimizer._slots]
  assert len({values.tobytes() for values in accumulators}) == len(names)
  for one, two in zip(optimizer.variables, restored.variables, strict=True):
    np.testing.assert_array_equal(one, two)
  assert len(optimizer._by_name) == len(optimizer.variables) + 1  # the learning rate


# Saved models


def model(optimizer: Any, seed: int = 1) -> tf_keras.Model:
  """Ids of a table, and a dense layer."""
  tf_keras.utils.set_random_seed(seed)
  made = tf_keras.Sequential(
    [
      tf_keras.layers.Embedding(9, 3, input_length=2, name="ids"),
      tf_keras.layers.Flatten(),
      tf_keras.layers.Dense(1, name="output"),
    ]
  )
  made.compile(optimizer, "mse")
  return made


def fit(trained: tf_keras.Model, seed: int) -> None:
  """Three steps."""
  random = np.random.default_rng(seed)
  x, y = random.integers(0, 9, size=(12, 2)), random.normal(size=(12, 1))
  trained.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def values(trained: tf_keras.Model) -> list[Array]:
  """Of weights and of all variables of the optimizer."""
  return [v.numpy() for v in (*trained.trainable_variables, *trained.optimizer.variables)]


def equal(one: list[Array], two: list[Array]) -> bool:
  """To the bit."""
  return [value.tobytes() for value in one] == [value.tobytes() for value in two]


@contextlib.contextmanager
def legacy_format() -> Iterator[None]:
  """Without tf_keras's advice to save as .keras."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
    yield


@MAKERS
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_loaded_model_trains_on_as_the_saved_one_bit_for_bit(
  suffix: str, make: Make, tmp_path: Path
) -> None:
  saved = model(make())
  fit(saved, 1)
  with legacy_format():
    saved.save(tmp_path / f"model{suffix}")
  loaded = tf_keras.models.load_model(tmp_path / f"model{suffix}")
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  assert equal(values(loaded), values(saved))
  fit(saved, 2)
  fit(loaded, 2)
  assert equal(values(loaded), values(saved))
  assert int(loaded.optimizer.iterations) == 6


@MAKERS
def test_weights_saved_by_tensorflow_bring_the_optimizer_along(make: Make, tmp_path: Path) -> None:
  saved = model(make())
  fit(saved, 1)
  saved.save_weights(str(tmp_path / "weights"))
  loaded = model(make(), seed=2)
  status = loaded.load_weights(str(tmp_path / "weights"))  # before anything is built
  fit(saved, 2)
  fit(loaded, 2)
  status.assert_consumed()
  assert equal(values(loaded), values(saved))


@pytest.mark.parametrize(
  "make",
  [adagrad_adagc, lambda: tf_keras.optimizers.Adagrad(RATE)],
  ids=["ours", "tf_keras Adagrad"],
)
def test_a_saved_model_folder_keeps_weights_and_settings_but_no_slots_as_in_tf_keras(
  make: Callable[[], Any], tmp_path: Path
) -> None:
  saved = model(make())
  fit(saved, 1)
  saved.save(tmp_path / "model", save_format="tf")
  loaded = tf_keras.models.load_model(tmp_path / "model")
  assert equal(loaded.get_weights(), saved.get_weights())
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  assert len(loaded.optimizer.variables) == 1  # the count of steps alone


def test_a_model_saved_before_its_first_step_can_be_loaded(tmp_path: Path) -> None:
  saved = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(3,))])
  saved.compile(adagrad_adagc(), "mse")
  saved.save(tmp_path / "model.keras")
  loaded = tf_keras.models.load_model(tmp_path / "model.keras")
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  assert int(loaded.optimizer.iterations) == 0


@pytest.mark.parametrize(
  ("change", "text"),
  [
    (
      lambda store: store.pop("average_norm|table"),
      "optimizer variable average_norm|table: the file has it not; load what the same optimizer "
      "saved",
    ),
    (
      lambda store: store.update({"velocity|table": np.zeros(3)}),
      "optimizer variable velocity|table: the file has it, the optimizer not; load what the same "
      "optimizer saved",
    ),
  ],
  ids=["missing", "extra"],
)
def test_load_own_variables_names_a_missing_or_extra_variable_and_loads_nothing(
  change: Callable[[dict[str, Array]], Any], text: str
) -> None:
  optimizer, variables = adagrad_adagc(), weights()
  take_steps(optimizer, variables, range(2))
  store: dict[str, Array] = {}
  optimizer.save_own_variables(store)
  assert store.keys() == optimizer._by_name.keys()
  change(store)
  other, others = adagrad_adagc(), weights()
  other.build(list(others.values()))
  before = state(other, others)
  with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
    other.load_own_variables(store)
  assert state(other, others) == before


def test_load_own_variables_gives_values_by_name_in_another_order() -> None:
  optimizer, variables = adagrad_adagc(), weights()
  take_steps(optimizer, variables, range(2))
  store: dict[str, Array] = {}
  optimizer.save_own_variables(store)
  other, others = adagrad_adagc(), weights(reverse=True)
  other.build(list(others.values()))
  other.load_own_variables(store)
  for name, variable in optimizer._by_name.items():
    np.testing.assert_array_equal(other._by_name[name], variable)
