"""Text files: their dialect is told without doubt or asked for, and every record is whole."""

import csv
import io
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking.data import delimited
from ranking.data.delimited import Dialect
from ranking.data.raw_files import RawFile
from ranking.data.schema import DataError


def file_of(path: Path, content: str | bytes) -> RawFile:
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  return RawFile(str(path), path.name, "text", "", {})


def read(
  path: Path, content: str | bytes, columns: list[str], drop: bool = False, **dialect: Any
) -> tuple[list[tuple[int, list[str]]], Counter[str]]:
  """The lines and fields of the records of a file, and what was left out."""
  file, cleaning = file_of(path, content), Counter[str]()
  layout = delimited.settle(file, Dialect(**dialect), columns)
  assert layout is not None
  rows: list[tuple[int, list[str]]] = []
  for piece in delimited.records(file, layout, drop, cleaning):
    table = delimited.fields(piece, layout, columns)
    values = [column.to_pylist() for column in table.columns]
    rows += zip(piece.lines.tolist(), map(list, zip(*values, strict=True)), strict=True)
  return rows, cleaning


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::", " "])
def test_the_separator_is_the_one_that_gives_the_described_columns(
  tmp_path: Path, separator: str
) -> None:
  lines = [["t", "u", "x"], ["1", "a", ""], ["2", "b", "c"]]
  content = "\n".join(separator.join(line) for line in lines)
  rows, _ = read(tmp_path / "log.dat", content, ["u", "t"])
  assert rows == [(2, ["a", "1"]), (3, ["b", "2"])]


@pytest.mark.parametrize(
  ("head", "content"),
  [
    ("\ufeff", "t,u\r\n1,a\r\n2,b\r\n"),
    ("", "t,u\r1,a\r2,b\r"),
    ("", '"t", "u"\n"1",a\n2,"b"\n'.replace(", ", ",")),
    ("", "t:time,u:token\n1,a\n2,b"),
    ("", " t , u\n1,a\n2,b\n"),
    ("", ",t,u\n0,1,a\n1,2,b\n"),  # pandas' index
    ("", '"t","u"\n"1",1,a\n"2",2,b\n'),  # R's row names
    ("", "t,u\n1,a,\n2,b,\n"),
    ("", "\n\nt,u\n\n1,a\n2,b\n\n"),
  ],
)
def test_ways_of_writing_the_same_log(tmp_path: Path, head: str, content: str) -> None:
  rows, _ = read(tmp_path / "log.csv", head + content, ["t", "u"])
  assert [row for _, row in rows] == [["1", "a"], ["2", "b"]]


def test_text_of_other_encodings_is_read_when_it_is_named_or_says_so(tmp_path: Path) -> None:
  content = "t,u\n1,Müller\n2,東\n"
  expected = [["1", "Müller"], ["2", "東"]]
  for encoding, given in (("utf-8", None), ("utf-16", None), ("gb18030", "gb18030")):
    rows, _ = read(tmp_path / "log", content.encode(encoding), ["t", "u"], encoding=given)
    assert [row for _, row in rows] == expected


def test_quoted_fields_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.csv", 't,u\n1,"a,""b""\r\nc"\n2,""\n3,d\n', ["t", "u"])
  assert rows == [(2, ["1", 'a,"b"\r\nc']), (4, ["2", ""]), (5, ["3", "d"])]


def test_quotes_may_be_escaped_instead_of_doubled(tmp_path: Path) -> None:
  content = 't,u\n1,"a\\"b, c"\n2,"d\\\\"\n3,e\n'
  with pytest.raises(DataError, match=r"line 2 opens a quote .* or Table\.escape where something"):
    read(tmp_path / "log.csv", content, ["t", "u"])
  rows, _ = read(tmp_path / "log.csv", content, ["t", "u"], escape="\\")
  assert [row for _, row in rows] == [["1", 'a"b, c'], ["2", "d\\"], ["3", "e"]]


def test_names_that_are_given_are_those_of_a_file_without_a_header(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.dat", "1;a\n2;b\n", ["u"], names=["t", "u"])
  assert rows == [(1, ["a"]), (2, ["b"])]
  rows, _ = read(tmp_path / "log.dat", "x;y\n2;b\n", ["u"], names=["t", "u"], header=True)
  assert rows == [(2, ["b"])]


@pytest.mark.parametrize("block", [7, 64, 1 << 23])
def test_records_are_those_of_pythons_csv_reader_wherever_blocks_end(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
  monkeypatch.setattr(delimited, "BLOCK", block)
  choose = random.Random(3)
  values = ["", "a", "b c", "x,y", 'q"q', "line\nend", "ü", "12.5"]
  expected = [[choose.choice(values) for _ in range(3)] for _ in range(300)]
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows([["t", "u", "v"], *expected])
  rows, _ = read(tmp_path / "log.csv", text.getvalue(), ["t", "u", "v"])
  assert [row for _, row in rows] == expected


SOUND = [f"{k},u{k},v" for k in range(100)]
DAMAGE = {
  "40,u40": (delimited.FIELDS, r"line 42 has 2 fields where there must be 3; mend it, or set Ta"),
  "40,u40,v,w": (delimited.FIELDS, r"line 42 has 4 fields where there must be 3"),
  '40,"u40,v': (delimited.QUOTE, r"line 42 opens a quote \(\"\) that is not closed, or has one in"),
  '40,u"40,v': (delimited.QUOTE, r"line 42 opens a quote"),
  '40,"u"40,v': (delimited.QUOTE, r"line 42 opens a quote"),
  "40,u\0,v": (delimited.NUL, r"line 42 holds a NUL character"),
  "40,u\r40,v": (delimited.RETURN, r"line 42 holds a carriage return that ends no line"),
  b"40,M\xfcller,v": (delimited.BYTES, r"line 42 is no text in utf-8: '40,M\\\\xfcller,v'; give"),
}


@pytest.mark.parametrize("block", [50, 1 << 23])
@pytest.mark.parametrize("line", DAMAGE)
@pytest.mark.parametrize("after", ["", '\nx,"quoted, text",y\nz,"",\n'])
def test_a_damaged_line_is_named_or_left_out_alone(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str | bytes, block: int, after: str
) -> None:
  monkeypatch.setattr(delimited, "BLOCK", block)
  kind, message = DAMAGE[line]
  lines = [entry.encode() for entry in ["t,u,v", *SOUND]]
  lines[41] = line.encode() if isinstance(line, str) else line
  content = b"\n".join(lines) + after.encode()
  with pytest.raises(DataError, match=r"log\.csv " + message):
    read(tmp_path / "log.csv", content, ["t", "u"])
  rows, cleaning = read(tmp_path / "log.csv", content, ["t", "u"], drop=True)
  numbered = [(k + 2, [str(k), f"u{k}"]) for k in range(100) if k != 40]
  more = [(102, ["x", "quoted, text"]), (103, ["z", ""])] if after else []
  assert rows == numbered + more
  assert cleaning == {delimited.COUNTED[kind]: 1}


def test_quotes_are_plain_text_where_that_is_said(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.tsv", 't\tu\n1\t5" disk\n2\t"\n', ["t", "u"], quote="")
  assert [row for _, row in rows] == [["1", '5" disk'], ["2", '"']]


@pytest.mark.parametrize(
  ("content", "dialect", "message"),
  [
    ("a,b\n1,2\n", {}, r"log lacks column t; it has a, b; if that is no header, give Table\.names"),
    ("t,click\n", {}, r"lacks column u; it has t, click"),
    ("t,t,u\n1,2,3\n", {}, r"has 2 columns for t \(t, t\); rename one of them"),
    ("1,2\n", {"names": ["t", "u", "v"]}, r"Table\.names has 3 names, and no separator gives so"),
    ("1,2;3\n", {"names": ["t", "u"]}, r"and more than one separator fits .* Table\.separator"),
    ("t,u\n1,2\n", {"names": ["t", "u"]}, r"line 1 repeats Table\.names; leave them out, it has a"),
    ("t,u\n1,a,x\n1,b,y\n", {}, r"has 2 names and 3 fields a line; name all in Table\.names, with"),
  ],
)
def test_a_dialect_that_is_wrong_or_in_doubt_is_refused(
  tmp_path: Path, content: str, dialect: dict[str, Any], message: str
) -> None:
  with pytest.raises(DataError, match=message):
    delimited.settle(file_of(tmp_path / "log", content), Dialect(**dialect), ["t", "u"])


def test_lines_are_counted_through_empty_ones_and_blocks(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(delimited, "BLOCK", 5)
  rows, cleaning = read(tmp_path / "log", "t,u\n\n1,a\n\r\n2,b\n", ["t", "u"])
  assert np.array([line for line, _ in rows]).tolist() == [3, 5]
  assert cleaning == {"skipped: empty lines": 2}
