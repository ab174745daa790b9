"""The files of a log: all that can be read are, and what is not is named."""

import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from ranking.data import raw_files
from ranking.data.schema import DataError


def test_a_folder_is_searched_to_the_bottom_and_what_is_not_read_is_named(tmp_path: Path) -> None:
  for name in (
    *("b.CSV", "a.csv", "deep/er/c.tsv.gz", "dt=2026-03-01/x=a%2Fb/part.parquet", "d.jsonl"),
    *(
      "part-00000",
      "000000_0",
      "LICENSE",
      "ReadMe.txt",
      "notes.md",
      ".~lock.a.csv#",
      "_SUCCESS",
      "deep/.hidden.csv",
    ),
  ):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("x")
  found, unread = raw_files.find(str(tmp_path))
  (tmp_path / "deep" / "again").symlink_to(tmp_path)
  assert raw_files.find(str(tmp_path)) == (found, unread)
  assert [file.name for file in found] == [
    *(
      "000000_0",
      "a.csv",
      "b.CSV",
      "d.jsonl",
      "deep/er/c.tsv.gz",
      "dt=2026-03-01/x=a%2Fb/part.parquet",
    ),
    "part-00000",
  ]
  assert unread == [
    ".~lock.a.csv#",
    "LICENSE",
    "ReadMe.txt",
    "_SUCCESS",
    "deep/.hidden.csv",
    "notes.md",
  ]
  assert [file.format for file in found] == ["text"] * 3 + ["json", "text", "parquet", "text"]
  assert found[-2].partition == {"dt": "2026-03-01", "x": "a/b"}


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst", ".GZ"])
def test_a_compressed_file_is_known_by_its_suffix_or_by_its_first_bytes(
  tmp_path: Path, suffix: str
) -> None:
  content = b"t,u\n1,2\n"
  pressed = {
    "": content,
    ".gz": gzip.compress(content),
    ".bz2": bz2.compress(content),
    ".xz": lzma.compress(content),
    ".zst": pa.compress(content, "zstd", asbytes=True),
  }[suffix.lower()]
  for name in (f"log.csv{suffix}", "export"):
    (tmp_path / name).write_bytes(pressed)
    ((file,), _) = raw_files.find(str(tmp_path / name))
    with file.open() as stream:
      assert (file.format, stream.read()) == ("text", content)


def test_a_compressed_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
  path = tmp_path / "log.csv.gz"
  path.write_bytes(gzip.compress(b"t,u\n1,2\n" * 1000)[:40])
  ((file,), _) = raw_files.find(str(path))
  message = r"log\.csv\.gz cannot be read \(.*\); get it again$"
  with pytest.raises(DataError, match=message), file.open() as stream:
    stream.read()


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ((), r"holds no file that can be read \(\.csv, .*\)$"),
    (("notes.md",), r"holds no file that can be read .*; it has notes\.md$"),
    (("a.csv", "a.csv.gz"), r"holds a\.csv and a\.csv\.gz, which look like one file twice; move"),
  ],
)
def test_a_folder_that_is_no_log_is_refused(
  tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
  for name in names:
    (tmp_path / name).write_text("x")
  with pytest.raises(DataError, match=message):
    raw_files.find(str(tmp_path))


def test_what_is_not_there_or_is_an_archive_is_refused(tmp_path: Path) -> None:
  with pytest.raises(DataError, match="nowhere is not there; give the path"):
    raw_files.find(str(tmp_path / "nowhere"))
  (tmp_path / "log.zip").write_bytes(b"PK\x03\x04rest")
  with pytest.raises(DataError, match=r"log\.zip is an archive or a spreadsheet; unpack it"):
    raw_files.find(str(tmp_path / "log.zip"))
