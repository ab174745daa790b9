"""Values that processes share: what is loaded is what was saved, and its arrays are not copies."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data import shared


def test_tables_read_back_as_they_were(tmp_path: Path) -> None:
  frame = pd.DataFrame(
    {
      "number": np.arange(5.0),
      "text": ["a", None, "b", "a", "ü"],
      "kind": pd.Categorical(["x", "y", None, "x", "y"]),
    },
    index=pd.Index([7, 3, 9, 1, 2], name="user"),
  )
  shared.save((frame, [[1, 2], []], None), tmp_path)
  again, lists, nothing = shared.load(tmp_path)
  pd.testing.assert_frame_equal(again, frame)
  assert (lists, nothing) == ([[1, 2], []], None)
  pd.testing.assert_frame_equal(again.reindex([9, 4, 9]), frame.reindex([9, 4, 9]))


@pytest.mark.parametrize("value", [None, {}, np.zeros(0), [np.zeros((0, 3)), "text"]])
def test_a_value_without_bytes_reads_back_too(tmp_path: Path, value: Any) -> None:
  shared.save(value, tmp_path)
  assert repr(shared.load(tmp_path)) == repr(value)


def test_an_array_is_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
  shared.save({"one": np.arange(1000), "other": np.arange(3, dtype=np.int8)}, tmp_path)
  tables = shared.load(tmp_path)
  np.testing.assert_array_equal(tables["one"], np.arange(1000))
  np.testing.assert_array_equal(tables["other"], [0, 1, 2])
  assert not tables["one"].flags.writeable
  assert not tables["one"].flags.owndata
