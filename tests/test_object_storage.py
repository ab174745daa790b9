"""Logs and stores on object storage, as a local S3 server has it."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from ranking.cli import main
from ranking.data.prepare import Silence, prepare
from ranking.data.schema import DataError
from tests.conftest import TinySource
from tests.frames import FrameLog
from tests.test_engine import files_below

DESCRIPTION = """
train_and_evaluate.source = @Table()
Table.time = "t"
Table.categorical = ["u", "i"]
Table.binary = ["click"]
train_and_evaluate.batch_size = 16
train_and_evaluate.learning_rate = 0.05
"""
PARTS = {
  f"dt=2026-03-0{day}/part.csv": "t,u,i,click\n"
  + "".join(
    f"2026-03-0{day}T{hour:02d}:00:00,u{hour % 5},i{hour % 3},{hour % 2}\n" for hour in range(24)
  )
  for day in (1, 2, 3)
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
  """The address of a folder with the parts, on a server of this process."""
  for name, value in {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
  }.items():
    monkeypatch.setenv(name, value)
  server = ThreadedMotoServer(port=0)
  server.start()
  _, port = server.get_host_and_port()
  monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
  client = boto3.client("s3")
  client.create_bucket(Bucket="logs")
  for name, text in PARTS.items():
    client.put_object(Bucket="logs", Key=f"shop/{name}", Body=text.encode())
  yield "s3://logs/shop"
  s3fs.S3FileSystem.clear_instance_cache()
  server.stop()


def test_a_log_on_s3_makes_the_store_that_it_makes_on_a_disk(
  bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  description = tmp_path / "log.gin"
  description.write_text(DESCRIPTION)
  for name, text in PARTS.items():
    path = tmp_path / "shop" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
  stores: list[list[dict[str, bytes]]] = []
  for raw in (bucket, str(tmp_path / "shop")):
    root = tmp_path / f"store{len(stores)}"
    given = [f"--data={description}", f"--raw={raw}"]
    assert main(["prepare", *given, f"--set=train_and_evaluate.store_directory='{root}'"]) == 0
    (manifest,) = root.glob("*/*/crc32.txt")
    days = sorted(path for path in manifest.parent.iterdir() if path.is_dir())
    stores.append([files_below(day) for day in days])
  assert len(stores[0]) == 3
  assert stores[0] == stores[1]
  assert main(["prepare", f"--data={description}", f"--raw={bucket}/nothing"]) == 2
  assert f"error: RAW {bucket}/nothing is not there" in capsys.readouterr().err


class Heard(Silence):
  """What was said."""

  def __init__(self) -> None:
    self.lines: list[str] = []

  def say(self, line: str) -> None:
    self.lines.append(line)


def test_a_store_on_s3_is_made_once_and_fetched_wherever_it_is_needed_next(
  bucket: str, tiny_log: FrameLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def on_machine(name: str) -> tuple[dict[str, bytes], list[str]]:
    (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / name)
    heard = Heard()
    made = prepare(TinySource(tiny_log), f"{bucket}/stores", heard).directory
    assert list(made.parent.iterdir()) == [made]
    return files_below(made), [line.split()[0] for line in heard.lines if bucket in line]

  first, said = on_machine("first")
  assert said == ["sending"]
  assert first == files_below(prepare(TinySource(tiny_log), tmp_path / "plain").directory)
  assert on_machine("second") == (first, ["fetching"])
  assert on_machine("second") == (first, [])
  client = boto3.client("s3")
  keys = [each["Key"] for each in client.list_objects_v2(Bucket="logs")["Contents"]]
  (checksums,) = [key for key in keys if key.endswith("crc32.txt")]
  client.delete_object(Bucket="logs", Key=checksums)  # as if sending it had been broken off
  assert on_machine("third") == (first, ["sending"])
  with pytest.raises(DataError, match=r"^s3://no-bucket/tiny/\w+ cannot be used \(.*\); see its"):
    prepare(TinySource(tiny_log), "s3://no-bucket")
