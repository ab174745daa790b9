"""A day store on object storage, so that whoever prepares the same log need not do it again.

Training maps arrays into memory, so that it reads a copy below LOCAL. A store is sent when it is
complete, and the file of checksums last: without it nothing is taken for a store.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ranking.data.schema import DataError
from ranking.data.store import CHECKSUMS

LOCAL: Final = Path("data/store")


class SharedStore:
  """One store.

  Args:
    address: of it, such as s3://bucket/stores/kuairand/0123456789abcdef.

  Its methods raise DataError where the storage cannot be reached, or does not let one in.
  """

  def __init__(self, address: str):
    self.address = address
    with self._errors():
      import fsspec  # of the extra s3

      self._files, self._root = fsspec.core.url_to_fs(address)

  def is_there(self) -> bool:
    """Whether it is complete."""
    with self._errors():
      self._files.invalidate_cache()
      return bool(self._files.exists(f"{self._root}/{CHECKSUMS}"))

  def fetch(self, folder: Path) -> None:
    """Copies it to a folder that is not there yet. What is damaged is noticed when it is read."""
    with self._errors():
      for path in self._files.find(self._root):
        copy = folder / path.removeprefix(self._root).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(path, str(copy))

  def send(self, folder: Path) -> None:
    """Copies a complete store from a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with self._errors():
      for path in sorted(paths, key=lambda path: path.name == CHECKSUMS):
        self._files.put_file(str(path), f"{self._root}/{path.relative_to(folder).as_posix()}")

  @contextlib.contextmanager
  def _errors(self) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # each storage has errors of its own
      reason = " ".join(str(error).split())[:200] or type(error).__name__
      raise DataError(f"{self.address} cannot be used ({reason}); see its rights") from error
