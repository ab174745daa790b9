"""Every record of a text file is whole: damage is named by its line, or left out alone."""

import csv
import io
import random
from pathlib import Path

import pytest

from ranking.data import records
from ranking.data.schema import DataError
from tests.text_files import read


def test_quoted_fields_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.csv", 't,u\n1,"a,""b""\r\nc"\n2,""\n3,d\n', ["t", "u"])
  assert rows == [(2, ["1", 'a,"b"\r\nc']), (4, ["2", ""]), (5, ["3", "d"])]


def test_quotes_may_be_escaped_instead_of_doubled(tmp_path: Path) -> None:
  content = 't,u\n1,"a\\"b, c"\n2,"d\\\\"\n3,e\n'
  with pytest.raises(DataError, match=r"line 2 opens a quote .* or Table\.escape where something"):
    read(tmp_path / "log.csv", content, ["t", "u"])
  rows, _ = read(tmp_path / "log.csv", content, ["t", "u"], escape="\\")
  assert [row for _, row in rows] == [["1", 'a"b, c'], ["2", "d\\"], ["3", "e"]]
  content = 't,u\n1,"C:\\new \\"a\\""\n2,D:\\x\n'  # other backslashes are plain text
  rows, _ = read(tmp_path / "log.csv", content, ["t", "u"], escape="\\")
  assert [row for _, row in rows] == [["1", 'C:\\new "a"'], ["2", "D:\\x"]]


def test_a_separator_of_several_characters_within_quotes_is_text(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.dat", 't::u\n1::"a::b"\n2::c\n', ["t", "u"])
  assert [row for _, row in rows] == [["1", "a::b"], ["2", "c"]]


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_a_character_that_is_cut_off_at_the_end_is_damage(tmp_path: Path, encoding: str) -> None:
  content = "t,u\n1,a\n2,\u6771".encode(encoding)[:-1]
  with pytest.raises(DataError, match=rf"log\.csv line 3 is no text in {encoding}: '2,"):
    read(tmp_path / "log.csv", content, ["t", "u"], encoding=encoding)


@pytest.mark.parametrize("block", [7, 64, 1 << 23])
def test_records_are_those_of_pythons_csv_reader_wherever_blocks_end(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
  monkeypatch.setattr(records, "BLOCK", block)
  choose = random.Random(3)
  values = ["", "a", "b c", "x,y", 'q"q', "line\nend", "ü", "12.5"]
  expected = [[choose.choice(values) for _ in range(3)] for _ in range(300)]
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows([["t", "u", "v"], *expected])
  rows, _ = read(tmp_path / "log.csv", text.getvalue(), ["t", "u", "v"])
  assert [row for _, row in rows] == expected


SOUND = [f"{k},u{k},v" for k in range(100)]
DAMAGE = {
  "40,u40": (records.FIELDS, r"line 42 has 2 fields where there must be 3; mend it, or set Ta"),
  "40,u40,v,w": (records.FIELDS, r"line 42 has 4 fields where there must be 3"),
  '40,"u40,v': (records.QUOTE, r"line 42 opens a quote \(\"\) that is not closed, or has one in"),
  '40,u"40,v': (records.QUOTE, r"line 42 opens a quote"),
  '40,"u"40,v': (records.QUOTE, r"line 42 opens a quote"),
  "40,u\0,v": (records.NUL, r"line 42 holds a NUL character"),
  "40,u\r40,v": (records.RETURN, r"line 42 holds a carriage return that ends no line"),
  b"40,M\xfcller,v": (records.BYTES, r"line 42 is no text in utf-8: '40,M\\\\xfcller,v'; give"),
}


@pytest.mark.parametrize("block", [50, 1 << 23])
@pytest.mark.parametrize("line", DAMAGE)
@pytest.mark.parametrize("after", ["", '\nx,"quoted, text",y\nz,"",\n'])
def test_a_damaged_line_is_named_or_left_out_alone(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str | bytes, block: int, after: str
) -> None:
  monkeypatch.setattr(records, "BLOCK", block)
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
  assert cleaning == {records.COUNTED[kind]: 1}


def test_quotes_are_plain_text_where_that_is_said(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.tsv", 't\tu\n1\t5" disk\n2\t"\n', ["t", "u"], quote="")
  assert [row for _, row in rows] == [["1", '5" disk'], ["2", '"']]


def test_lines_are_counted_through_empty_ones_and_blocks(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(records, "BLOCK", 5)
  rows, cleaning = read(tmp_path / "log", "t,u\n\n1,a\n\r\n2,b\n", ["t", "u"])
  assert [line for line, _ in rows] == [3, 5]
  assert cleaning == {"skipped: empty lines": 2}


def test_what_is_read_of_damaged_files_is_what_a_strict_reader_reads(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  choose = random.Random(5)
  values = ["a", "b,c", 'q"r', "", "line\nx", "ü"]
  text = io.StringIO()
  lines = [[str(k), choose.choice(values), str(choose.random())] for k in range(40)]
  csv.writer(text, lineterminator="\n").writerows([["t", "u", "v"], *lines])
  sound = text.getvalue().encode()
  refused = 0
  for _ in range(300):
    content = bytearray(sound)
    for _ in range(choose.choice([1, 1, 2, 3])):
      place = choose.randrange(6, len(content))
      content[place : place + choose.randrange(2)] = choose.choice(
        [b"", b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"a"]
      )
    left_out = []
    for block in (37, 1 << 23):
      monkeypatch.setattr(records, "BLOCK", block)
      left_out.append(
        read(tmp_path / "log", bytes(content), ["t", "u", "v"], drop=True, separator=",")
      )
    assert left_out[0] == left_out[1]
    assert len({*map(tuple, lines)} - {tuple(row) for _, row in left_out[0][0]}) <= 6
    try:
      rows, _ = read(tmp_path / "log", bytes(content), ["t", "u", "v"], separator=",")
    except DataError:
      refused += 1
      continue
    strict = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    assert [row for _, row in rows] == [row for row in strict if row][1:]
  assert 100 < refused < 290
