"""What was known before each row, row against row, whatever pieces it is worked out in."""

from pathlib import Path

import numpy as np
import pytest

from ranking.array import Array
from ranking.data import past

ROWS, KEYS, SIZE = 90, 4, 3


def drawn(seed: int) -> tuple[Array, Array, Array]:
  """Times with many ties and a long gap, keys of two entities, 0 for none, and two columns."""
  random = np.random.default_rng(seed)
  time = np.sort(random.integers(0, 30, ROWS)) * 10
  time[ROWS // 2 :] += 500
  return time, random.integers(0, KEYS + 1, (ROWS, 2)), random.integers(-5, 9, (ROWS, 2))


@pytest.mark.parametrize("delay", [0, 15, 700])
@pytest.mark.parametrize(("block", "piece"), [(1, 1), (7, 3), (20, 64), (ROWS, 10), (ROWS, ROWS)])
def test_sums_and_latest_items_equal_brute_force(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: int, block: int, piece: int
) -> None:
  monkeypatch.setattr(past, "PIECE_ROWS", piece)
  time, keys, values = drawn(seed=block)
  users, items, counts = keys[:, 0], values[:, 0], values[:, 1] > 0
  known = time[None, :] < time[:, None] - delay
  same = [known & (k[None, :] == k[:, None]) & (k[:, None] > 0) for k in keys.T]
  expected = np.stack([of_entity @ values for of_entity in (*same, known)])
  latest = np.zeros((ROWS, SIZE), int)
  for row in range(ROWS):
    found = items[same[0][row] & counts][::-1][:SIZE]
    latest[row, : len(found)] = found
  with (
    past.Sums(tmp_path / "sums", [KEYS, KEYS], 2, delay) as sums,
    past.Latest(tmp_path / "latest", KEYS, SIZE, delay) as of_users,
  ):
    for start in range(0, ROWS, block):
      rows = slice(start, start + block)
      np.testing.assert_array_equal(
        sums.before(time[rows], keys[rows], values[rows]), expected[:, rows]
      )
      np.testing.assert_array_equal(
        of_users.before(time[rows], users[rows], items[rows], counts[rows]), latest[rows]
      )


def test_what_waits_is_not_kept_once_it_is_known(tmp_path: Path) -> None:
  with past.Sums(tmp_path / "sums", [1], 1, delay=5) as sums:
    for block in range(20):
      time = np.arange(100) + 100 * block
      sums.before(time, np.ones((100, 1), np.int32), np.ones((100, 1), np.int64))
  assert (tmp_path / "sums" / "waiting").stat().st_size <= 100 * 20  # bytes of one block
