"""The commands that compile the step for a device that is not here: tpu-check and gpu-check."""

import sys
from typing import Any

import pytest

from ranking.cli import main
from ranking.commands import gpu_check, step_costs, tpu_check
from ranking.commands.gpu_check import CARDS, chip_of, described
from ranking.compiling.costs import GIB

COSTS: dict[str, Any] = {
  **{"device": "TPU v5 lite", "flops": 1e12, "bytes": 8e9, "seconds": None, "run_seconds": None},
  **{"arguments": 3 * GIB, "outputs": GIB, "temporaries": 5 * GIB},
}
HALF = {**COSTS, "temporaries": 3 * GIB}


def check(monkeypatch: pytest.MonkeyPatch, command: Any, words: list[str], **changed: Any) -> int:
  """The exit code of a check whose compiler says COSTS, but for what is changed."""
  said = step_costs.StepCosts("Small with Clippy", "float32", {**COSTS, **changed}, HALF)
  monkeypatch.setattr(command, "step_costs", lambda *_: said)
  return main([command.__name__.rpartition(".")[2].replace("_", "-"), *words])


def test_a_share_of_the_batch_is_checked_for_each_tpu(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  assert check(monkeypatch, tpu_check, ["--batch-size=4096"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "Small with Clippy: compiled, never run"
  assert lines[1] == "  4 chips TPU v5 lite, 1,024 rows each; of each chip:"
  assert lines[-1] == "  largest batch that fits: about 12,288 rows, 3,072 a chip"
  assert check(monkeypatch, tpu_check, ["--batch-size=4096"], arguments=15 * GIB) == 2


def test_a_gpu_that_is_not_here_is_compiled_for(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  h100 = CARDS["h100"].name
  assert check(monkeypatch, gpu_check, ["--batch-size=1024"], device=h100) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "Small with Clippy: compiled, never run: no GPU is here"
  assert lines[1] == f"  {h100}, 1,024 rows, layers in float32"
  assert lines[3].startswith("  8.00 GiB of 79: ")
  assert lines[-1] == "  largest batch that fits: about 19,200 rows"
  assert check(monkeypatch, gpu_check, [], device=h100, arguments=99 * GIB) == 2


def test_a_gpu_that_is_here_is_timed(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  ran = {"device": "GeForce", "bytes": None, "run_seconds": [0.02], "finite": True}
  assert check(monkeypatch, gpu_check, ["--batch-size=1024"], **ran) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "Small with Clippy: compiled and run"
  assert lines[-2].startswith("  median of 1 steps: 20.0 ms")
  assert lines[-1] == "  its memory and peak are not known here"


def test_a_card_is_found_by_its_name() -> None:
  a100 = CARDS["a100"]
  assert chip_of(a100.name, "float32") == a100.chip
  assert chip_of(a100.name, "bfloat16") == a100.chip._replace(flops=312e12)
  assert chip_of("GeForce", "float32") is None
  assert f"device_memory_size: {79 * GIB} memory_bandwidth: 2039000000000" in described(a100)


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["tpu-check", "--topology=v9:2x2"], "no chip 'v9' in --topology; known are v4, v5e, v5p, v6e"),
    (["tpu-check", "--topology=v5e:two"], "--topology is 'v5e:two'; make it such as v5e:2x2"),
    (["tpu-check", "--topology=v5e:0x2"], "--topology is 'v5e:0x2'; make it such as v5e:2x2"),
    (["tpu-check", "--batch-size=0"], "batch size 0 does not split over 4 chips in an even number"),
    (["tpu-check", "--batch-size=100", "--topology=v5e:4x4"], "100 does not split over 16 chips"),
    (["tpu-check", "--compiler=nowhere"], "no Python at nowhere; make tpu-check sets one up"),
    (["gpu-check", "--compiler=nowhere"], "no Python at nowhere; make gpu-check sets one up"),
    (["gpu-check", "--gpu=voodoo2"], "no GPU 'voodoo2' in --gpu; known are a100, h100, h200"),
    (["gpu-check", "--batch-size=0"], "batch size 0 is no even number of rows"),
    (["gpu-check", "--batch-size=7"], "batch size 7 is no even number of rows"),
  ],
)
def test_what_cannot_be_checked_is_one_line(
  words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
  assert (
    main([words[0], "--config=small_clippy.gin", f"--compiler={sys.executable}", *words[1:]]) == 2
  )
  assert message in capsys.readouterr().err
