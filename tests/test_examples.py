"""The examples of docs train, go on bit for bit, and are frozen and unfrozen."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ranking import strategy
from scripts import check_examples
from tests.fresh_process import in_fresh_process

HERE = Path(__file__).parent

# Of the 18 that `python -m scripts.check_examples` tries.
CELLS = (
  ("tfrs_multitask", 1, "mixed_bfloat16"),
  ("dcn_ranking", 1, "mixed_float16"),
  ("dlrm", 2, "float32"),
)


def made_up() -> dict[str, dict[str, np.ndarray]]:
  """Rows for every example, without a log."""
  random = np.random.default_rng(0)
  count = 5 * 256

  def ids(size: int) -> np.ndarray:
    return np.r_[size - 1, random.integers(0, size, count - 1)].astype(np.int32)

  liked = (random.random(count) < 0.5).astype(np.float32)
  return {
    "tfrs_multitask": {"user": ids(20), "movie": ids(30), "stars": 1 + 4 * liked},
    "dcn_ranking": {
      "user": ids(20),
      "movie": ids(30),
      "genres": ids(9),
      "hour": ids(24),
      "liked": liked,
    },
    "dlrm": {
      "ids": np.stack([ids(20), ids(30), ids(9)], axis=1),
      "dense": random.random((count, 3)).astype(np.float32),
      "liked": liked[:, None],
    },
  }


def checked() -> list[str]:
  """What does not hold, of every cell."""
  two, rows, wrong = strategy.virtual_cpus(2), made_up(), []
  tf.get_logger().setLevel("ERROR")
  tf.config.run_functions_eagerly(True)  # a few steps are done before a graph is traced
  for example, replicas, policy in CELLS:
    try:
      check_examples.check(example, rows[example], two if replicas == 2 else None, policy)
    except AssertionError as error:
      wrong.append(f"{example} on {replicas} in {policy}: {error}")
  return wrong


def test_examples_go_on_bit_for_bit_and_leave_alone_what_is_frozen() -> None:
  assert in_fresh_process(checked) == []


@pytest.mark.parametrize("example", check_examples.EXAMPLES)
def test_examples_read_movielens(example: str, tmp_path: Path) -> None:
  (tmp_path / "ratings.csv").write_text(
    "userId,movieId,rating,timestamp\n9,31,2.5,1260759144\n1,7,4.0,1260759140\n9,7,3.0,1260759150\n"
  )
  (tmp_path / "movies.csv").write_text(
    'movieId,title,genres\n31,Dangerous Minds (1995),Drama\n7,"Sabrina, again (1995)",Comedy\n'
  )
  rows = check_examples.read(example, tmp_path)
  assert {len(values) for values in rows.values()} == {3}
  first = {name: np.ravel(values[0])[0] for name, values in rows.items()}
  label = first.pop("stars") if "stars" in first else first.pop("liked") * 4
  assert label == 4  # in the order of time
  assert {value.dtype.name for value in rows.values()} <= {"int32", "float32"}


@pytest.mark.parametrize("example", check_examples.EXAMPLES)
def test_examples_can_be_read_in_a_few_minutes(example: str) -> None:
  assert len((HERE.parent / "docs" / "examples" / f"{example}.py").read_text().splitlines()) <= 120
