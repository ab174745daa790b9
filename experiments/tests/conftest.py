"""What tests of the study share."""

from collections.abc import Iterator
from pathlib import Path

import gin
import pytest


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
  """Runs a test in an empty folder, and leaves no binding of gin behind."""
  monkeypatch.chdir(tmp_path)
  yield
  gin.clear_config()
