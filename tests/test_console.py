"""What a person sees: lines, tables, and progress without a terminal."""

import subprocess
import sys

import pytest

from ranking.training.console import Console


def test_a_value_that_looks_like_markup_is_printed_as_it_is(
  capsys: pytest.CaptureFixture[str],
) -> None:
  Console().table("by [tab]", ["[x]", "rows"], [["[/x]", 3], ["[bold] y", 4]])
  printed = capsys.readouterr().out
  for text in ("by [tab]", "[x]", "[/x]", "[bold] y"):
    assert text in printed


def test_progress_is_plain_lines_without_a_terminal(
  capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  clock = iter(range(0, 1000, 6))
  monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
  with Console().progress(40, 10) as progress:
    for step in (20, 30, 40):
      progress.update(step, 1234.5, 0.5, "ok")
  printed = capsys.readouterr().out.splitlines()
  assert printed == [
    "step 30/40, 1,234 examples/s, loss 0.5000, ok, 6 s left",
    "step 40/40, 1,234 examples/s, loss 0.5000, ok, 0 s left",
  ]


def test_a_reader_who_leaves_ends_no_process_but_is_noticed() -> None:
  code = (
    "import sys, time\n"
    "from ranking.training.console import Console\n"
    "console = Console()\n"
    "console.say('one')\n"
    "sys.stdin.readline()\n"  # until the reader has gone
    "for _ in range(3): console.say('two')\n"
    "print(console.is_closed, file=sys.stderr)\n"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  assert process.stdin is not None
  assert process.stdout.readline() == "one\n"
  process.stdout.close()
  process.stdin.write("gone\n")
  process.stdin.close()
  assert process.stderr is not None
  assert process.stderr.read().splitlines() == ["two", "two", "two", "True"]
  process.stderr.close()
  assert process.wait() == 0
