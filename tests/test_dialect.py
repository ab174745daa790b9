"""How a text file is written is told from it without doubt, or asked for."""

from pathlib import Path
from typing import Any

import pytest

from ranking.data.dialect import Dialect, settle
from ranking.data.schema import DataError
from tests.text_files import file_of, read


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


def test_names_that_are_given_are_those_of_a_file_without_a_header(tmp_path: Path) -> None:
  rows, _ = read(tmp_path / "log.dat", "1;a\n2;b\n", ["u"], names=["t", "u"])
  assert rows == [(1, ["a"]), (2, ["b"])]
  rows, _ = read(tmp_path / "log.dat", "x;y\n2;b\n", ["u"], names=["t", "u"], header=True)
  assert rows == [(2, ["b"])]


@pytest.mark.parametrize(
  ("content", "dialect", "message"),
  [
    ("a,b\n1,2\n", {}, r"log lacks column t; it has a, b; if that is no header, give Table\.names"),
    ("t,click\n", {}, r"lacks column u; it has t, click"),
    ("t,t,u\n1,2,3\n", {}, r"has 2 columns for t \(t, t\); rename one of them"),
    ("1,2\n", {"names": ["t", "u", "v"]}, r"Table\.names has 3 names, and no separator gives so"),
    ("1,2;3\n", {"names": ["t", "u"]}, r"and more than one separator fits .* Table\.separator"),
    ("t,u\n1,2\n", {"names": ["t", "u"]}, r"line 1 repeats Table\.names; leave them out, it has a"),
    ("t,u\n".encode("utf-16-le"), {}, r'is no text in utf-8, .*, such as "utf-16-le"'),
    (b"\x1f\x8b\x08", {}, r"log holds \.gz, of which its name says nothing; rename it"),
    ("t,u\n1,a,x\n1,b,y\n", {}, r"has 2 names and 3 fields a line; name all in Table\.names, with"),
  ],
)
def test_a_dialect_that_is_wrong_or_in_doubt_is_refused(
  tmp_path: Path, content: str, dialect: dict[str, Any], message: str
) -> None:
  with pytest.raises(DataError, match=message):
    settle(file_of(tmp_path / "log", content), Dialect(**dialect), ["t", "u"])
