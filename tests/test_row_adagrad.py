"""Row-wise Adagrad against its formula in NumPy, and against Adagrad where rows have one weight."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ranking import configuration
from ranking.array import Array
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, NoClip, Rule, StateError
from ranking.optimizers.row_adagrad import RowWiseAdagrad

RATE, ROWS, WIDTH = 0.125, 6, 3
RANDOM = np.random.default_rng(0)
START = RANDOM.normal(size=(ROWS, WIDTH))
# Of each step: rows, one of which comes twice, and their gradients. Row 5 never comes.
STEPS = [
  (RANDOM.integers(0, ROWS - 1, 4)[[0, 1, 2, 3, 0]], RANDOM.normal(size=(5, WIDTH)))
  for _ in range(8)
]


def optimizer(direction: RowWiseAdagrad | Adagrad) -> ClippedOptimizer:
  return ClippedOptimizer(direction, NoClip(), RATE)


def table(start: Array = START) -> tf.Variable:
  return tf.Variable(start, name="embeddings")


def test_its_steps_are_those_of_its_formula_and_rows_that_do_not_come_stay_as_they_are() -> None:
  made, variable = optimizer(RowWiseAdagrad(0.25, 1e-3)), table()
  weights, sums = START.copy(), np.full(ROWS, 0.25)
  for rows, values in STEPS:
    gradient = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([ROWS, WIDTH]))
    made.apply_gradients([(gradient, variable)])
    for row in set(rows):
      g = values[rows == row].sum(axis=0)
      sums[row] += np.mean(g**2)
      weights[row] -= RATE * g / np.sqrt(sums[row] + 1e-3)
  kept = made.state_of(variable)["row_accumulator"]
  assert kept.shape == [ROWS]
  np.testing.assert_allclose(variable, weights, rtol=1e-12)
  np.testing.assert_allclose(kept, sums, rtol=1e-12)
  np.testing.assert_array_equal(variable[5], START[5])
  assert kept[5] == 0.25


def test_a_dense_gradient_moves_a_table_as_its_rows_do() -> None:
  of_rows, whole = (optimizer(RowWiseAdagrad()) for _ in range(2))
  one, other = table(), table()
  for rows, values in STEPS:
    gradient = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([ROWS, WIDTH]))
    of_rows.apply_gradients([(gradient, one)])
    whole.apply_gradients([(tf.convert_to_tensor(gradient), other)])
  np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [1e-7, 0.0])
@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS,), ()])
def test_with_one_weight_in_a_row_it_is_adagrad(shape: tuple[int, ...], epsilon: float) -> None:
  start, gradients = RANDOM.normal(size=shape), RANDOM.normal(size=(5, *shape))
  ends = []
  for direction in (RowWiseAdagrad(0.0, epsilon), Adagrad(0.0, epsilon)):
    made, variable = optimizer(direction), table(start)
    for gradient in gradients:
      made.apply_gradients([(tf.constant(gradient), variable)])
    ends.append(variable.numpy())
  np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)


def test_its_state_is_saved_and_never_taken_for_that_of_adagrad(tmp_path: Path) -> None:
  made, variable = optimizer(RowWiseAdagrad()), table()
  made.apply_gradients([(tf.constant(START), variable)])
  path = tf.train.Checkpoint(optimizer=made).write(str(tmp_path / "state"))
  other = optimizer(RowWiseAdagrad())
  other.build([table()])
  tf.train.Checkpoint(optimizer=other).read(path).assert_existing_objects_matched()
  for one, two in zip(made.numbers, other.numbers, strict=True):
    np.testing.assert_array_equal(one, two)
  plain = optimizer(Adagrad())
  plain.build([table()])
  with pytest.raises(StateError, match=r"keeps row_accumulator, .* this one accumulator"):
    tf.train.Checkpoint(optimizer=plain).read(path)


def test_a_configuration_gives_it_to_the_tables_alone() -> None:
  words = (
    "ClippedOptimizer.rules=[@Rule()]",
    "Rule.variables='/embeddings'",
    "Rule.clip=@NoClip()",
    "Rule.direction=@RowWiseAdagrad()",
  )
  settings = configuration.read(config="small_clippy.gin", bindings=words).training
  made = settings.optimizer.build(0.1)
  assert made.rules == (Rule("/embeddings", NoClip(), RowWiseAdagrad()),)
  treated = made.treatment(tf.Variable(START, name="network/embedding_user/embeddings"))
  assert (treated.direction, treated.is_clipped) == (RowWiseAdagrad(), False)
  assert isinstance(made.treatment(tf.Variable(START, name="network/hidden_1/kernel")).clip, Clippy)
