"""CSV in chunks: what a chunk cannot know of the others changes nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranking.data.schema import DataError
from ranking.data.sources import csv_file


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_ids_are_the_same_whether_a_chunk_holds_numbers_or_text(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
  monkeypatch.setattr(csv_file, "CHUNK_ROWS", rows)
  path = tmp_path / "ids.csv"
  path.write_text("number,id,number_id\n1,5,5\n2,,\n3,5.0,5.0\n4,x,7\n5,7.5,5\n6,5,")
  table = csv_file.whole(csv_file.chunks(path, {"number": 9}, ids=("id", "number_id")))
  assert table.id.astype(object).where(table.id.notna(), None).tolist() == [
    *("5", None, "5", "x", "7.5", "5")
  ]
  np.testing.assert_array_equal(table.number_id, [5, np.nan, 5, 7, 5, np.nan])
  assert table.number.tolist() == [1, 2, 3, 4, 5, 6]
  assert table.index.tolist() == list(range(6))


def test_texts_stay_as_they_stand(tmp_path: Path) -> None:
  path = tmp_path / "texts.csv"
  path.write_text("number,text\n1,5.0\n2,05\n3,\n4,5\n")
  table = csv_file.whole(csv_file.chunks(path, {"number": 9}, ["text"]))
  assert table.text.cat.categories.tolist() == ["05", "5", "5.0"]
  assert table.text.isna().tolist() == [False, False, True, False]


def test_a_whole_number_is_one_id_in_every_form() -> None:
  column = pd.Series(
    [5, 5.0, "5", "5.0", -3.0, 0.5, "a.0", "1.5", None, np.nan, True], dtype=object
  )
  expected = ["5", "5", "5", "5", "-3", "0.5", "a.0", "1.5", None, None, "True"]
  assert csv_file.text(column).tolist() == expected
  assert csv_file.text(column.iloc[::-1]).index.tolist() == list(range(10, -1, -1))


def test_all_columns_that_are_not_numbers_may_be_asked_for(tmp_path: Path) -> None:
  path = tmp_path / "rest.csv"
  path.write_text("a,b,c\n1,2,x\n")
  (chunk,) = csv_file.chunks(path, {"b": None}, ids=None)
  assert list(chunk) == ["b", "a", "c"]


def test_a_limit_is_named_and_none_is_not(tmp_path: Path) -> None:
  path = tmp_path / "big.csv"
  path.write_text("a\n1\n9007199254740992\n")
  message = r"big\.csv line 3 column a holds 9007199254740992 where a number{} belongs; mend or rem"
  for limit, below in ((10, " below 10"), (None, "")):
    with pytest.raises(DataError, match=message.format(below)):
      list(csv_file.chunks(path, {"a": limit}))
