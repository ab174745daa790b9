"""The check for a TPU that is not here: the step is one XLA program, its costs are read right."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ranking import configuration
from ranking.cli import main
from ranking.commands import tpu_check
from ranking.commands.tpu_check import CHIPS, GIB, best_seconds, describe, fitting, memory
from ranking.compiling.program import step_program
from ranking.data.store import DayStore

COMPILER = str(Path(__file__).parent.parent / ".venv-tpu" / "bin" / "python")
COSTS = {
  **{"chip": "TPU v5 lite", "chips": 4, "flops": 1.97e12, "bytes": 8.19e9, "seconds": None},
  **{"arguments": 3 * GIB, "outputs": GIB, "temporaries": 5 * GIB},
}


@pytest.fixture
def program(tiny_store: DayStore) -> bytes:
  """The step of the largest model, narrow."""
  settings = configuration.read(
    config="large_dcn_clippy.gin",
    data="synthetic",
    scale="proxy",
    bindings=["Model.width_scale=0.05"],
    run_directory="runs/none",
  )
  return step_program(settings, tiny_store.schema, 64)


def test_the_step_is_one_program_without_calls_of_the_host(program: bytes) -> None:
  assert b"dot" in program
  assert b"custom-call" not in program
  assert b"infeed" not in program


@pytest.mark.skipif(not Path(COMPILER).is_file(), reason="make tpu-check sets the compiler up")
def test_the_compiler_of_tpus_takes_the_step(program: bytes) -> None:
  given: Any = type("Given", (), {"compiler": COMPILER, "topology": "v5e:2x2"})
  costs = tpu_check._compiled(program, given)
  assert costs["chip"] == "TPU v5 lite"
  assert costs["flops"] > 0
  assert memory(costs) > 0


def test_the_shortest_time_is_that_of_what_a_chip_is_slowest_at() -> None:
  chip = CHIPS["v5e"]
  assert best_seconds(COSTS, chip) == pytest.approx(0.01)  # both take as long
  assert best_seconds({**COSTS, "bytes": 8.19e10}, chip) == pytest.approx(0.1)
  assert memory(COSTS) == 8 * GIB
  lines = describe({**COSTS, "seconds": 0.02}, chip, 16_384, 4)
  assert "1,970 GFLOP and 8.19 GB accessed" in lines[1]
  assert "8.00 GiB of 16 a chip" in lines[2]
  assert lines[2].endswith("it fits")
  assert "at most 1,638,400 examples/s a chip" in lines[3]
  assert "100% of its peak" in lines[3]
  assert lines[4] == "the compiler's own estimate: 20.0 ms a step"
  assert describe({**COSTS, "arguments": 12 * GIB}, chip, 16_384, 4)[2].endswith("does not fit")


def test_the_largest_batch_is_where_the_memory_ends() -> None:
  half = {**COSTS, "temporaries": 3 * GIB}  # 4 GiB grow with the rows, 4 stay
  assert fitting(COSTS, half, 1024, CHIPS["v5e"]) == 3072
  assert fitting(COSTS, COSTS, 1024, CHIPS["v5e"]) == 1024


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--topology=v9:2x2"], "no chip 'v9' in --topology; known are v4, v5e, v5p, v6e"),
    (["--topology=v5e:two"], "--topology is 'v5e:two'; make it such as v5e:2x2"),
    (["--topology=v5e:0x2"], "--topology is 'v5e:0x2'; make it such as v5e:2x2"),
    (["--batch-size=0"], "batch size 0 does not split over 4 chips in an even number of rows"),
    (["--compiler=nowhere"], "no Python at nowhere; make tpu-check sets one up"),
    (["--batch-size=100", "--topology=v5e:4x4"], "batch size 100 does not split over 16 chips"),
  ],
)
def test_what_cannot_be_checked_is_one_line(
  words: list[str],
  message: str,
  capsys: pytest.CaptureFixture[str],
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr(tpu_check, "read_settings", lambda *_: None)
  base = ["tpu-check", "--config=small_clippy.gin", f"--compiler={sys.executable}"]
  assert main([*base, *words]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ("printed", "message"),
  [
    (json.dumps({"error": "no such op"}), "the step does not compile for v5e:2x2: no such op"),
    ("", "cannot compile for a TPU: it printed nothing"),
  ],
)
def test_what_the_compiler_refuses_is_said(
  tmp_path: Path, printed: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  compiler = tmp_path / "compiler"
  compiler.write_text(f"#!/bin/sh\necho '{printed}'\n")
  compiler.chmod(0o755)
  given: Any = type("Given", (), {"compiler": str(compiler), "topology": "v5e:2x2"})
  with pytest.raises(ValueError, match=message):
    tpu_check._compiled(b"program", given)
