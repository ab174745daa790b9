"""Runs of a sweep: skipped, tried again, stopped, resumed. A script stands in for the trainer."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ranking.files import unsealed
from ranking.run_directory import is_finished
from ranking.sweeps import runner
from ranking.sweeps.progress import SweepProgress
from ranking.sweeps.sweep import Sweep, SweepError, Trial

FAKE = Path(__file__).parent / "fake_trainer.py"
TRIALS = Sweep("s", ["large"], ["naive", "gc", "agc", "clippy"]).trials()
NAMES = [trial.name for trial in TRIALS]
NAIVE, GC, AGC, CLIPPY = NAMES
ROOT = Path("runs", "s")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.chdir(tmp_path)


def run(
  behaviour: str = "ok",
  trials: Sequence[Trial] = TRIALS,
  prepare: Sequence[Sequence[str]] = (),
  jobs: int = 2,
  threads: int | None = 1,
) -> dict[str, str]:
  def command(trial: Trial, directory: Path) -> list[str]:
    return [sys.executable, str(FAKE), behaviour, "train", f"--run={directory}"]

  return runner.run(trials, ROOT, command, prepare, jobs, threads)


def calls() -> list[str]:
  """Names of the runs that were started, in alphabetical order, once for each start."""
  return sorted(line.split()[0] for line in Path("calls.txt").read_text().splitlines())


def later(action: Callable[[], object], until: Callable[[], object]) -> threading.Thread:
  """Does something once something else is true."""

  def wait() -> None:
    deadline = time.monotonic() + 60
    while not until() and time.monotonic() < deadline:
      time.sleep(0.01)
    action()

  thread = threading.Thread(target=wait)
  thread.start()
  return thread


def began(*names: str) -> bool:
  return all((ROOT / name / "began").exists() for name in names)


def start_in_a_process_of_its_own(behaviour: str) -> "subprocess.Popen[str]":
  code = (
    "from ranking.errors import Stopped\n"
    "from tests import test_sweep_runner\n"
    f"try: test_sweep_runner.run({behaviour!r})\n"
    "except Stopped as stop: print(stop); raise SystemExit(143)\n"
  )
  path = {"PYTHONPATH": str(FAKE.parent.parent)}
  return subprocess.Popen(
    [sys.executable, "-c", code], env={**os.environ, **path}, stdout=subprocess.PIPE, text=True
  )


def test_every_trial_runs_once_and_a_diverged_run_is_finished(capfd: pytest.CaptureFixture[str]):
  assert run() == {}
  assert calls() == sorted(NAMES)
  for name in NAMES:
    assert is_finished(ROOT / name)
  printed = capfd.readouterr().out
  assert "4 runs in runs/s: 0 finished before, 4 to run, 2 at once" in printed
  assert f"{NAIVE}: diverged after" in printed
  assert "4/4" in printed


def test_finished_runs_are_skipped_and_nothing_is_prepared_for_them(
  capfd: pytest.CaptureFixture[str],
):
  run(trials=TRIALS[:3])
  capfd.readouterr()
  prepare = [sys.executable, "-c", "open('prepared.txt', 'a').write('x')"]
  assert run(prepare=[prepare, prepare]) == {}
  assert calls() == sorted(NAMES)
  assert "3 finished before, 1 to run" in capfd.readouterr().out
  assert Path("prepared.txt").read_text() == "xx"
  assert run("fails:large", prepare=[["no such command"]]) == {}
  assert capfd.readouterr().out == ""
  assert calls() == sorted(NAMES)


def test_a_run_that_fails_once_is_tried_again_last_and_finishes(capfd: pytest.CaptureFixture[str]):
  assert run(f"fails:{NAIVE}:1", jobs=1) == {}
  started = [line.split()[0] for line in Path("calls.txt").read_text().splitlines()]
  assert started == [*NAMES, NAIVE]
  assert not (ROOT / NAIVE / "failed.json").exists()
  printed = capfd.readouterr().out
  assert f"0/4 {NAIVE}: failed: exit code 1: error: {NAIVE} cannot, start 1, to be tried" in printed


def test_a_run_that_fails_twice_is_given_up_with_its_error_and_the_others_go_on():
  error = f"exit code 1: error: {GC} cannot, start 2"
  assert run(f"fails:{GC}") == {GC: error}
  assert calls() == sorted([*NAMES, GC])
  failed = unsealed((ROOT / GC / "failed.json").read_text())
  assert failed == {"error": error, "exit_code": 1}
  assert "start 1" in (ROOT / GC / "output.txt").read_text()
  # The next sweep gives it two more.
  assert list(run(f"fails:{GC}")) == [GC]
  assert calls() == sorted([*NAMES, *[GC] * 3])
  assert run() == {}


@pytest.mark.parametrize(
  ("code", "error"),
  [
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL: it printed n"),
    ("raise ValueError('no good')", "exit code 1: ValueError: no good"),
    ("print('done')", "exit code 0: done"),
  ],
)
def test_a_failure_says_how_the_process_ended_and_the_last_it_said(code: str, error: str):
  command = [sys.executable, "-c", code]
  failed = runner.run(TRIALS[:1], ROOT, lambda trial, directory: command, [], 1, None)
  assert failed[NAIVE].startswith(error)


def test_a_failure_is_of_its_own_attempt():
  """The first one says what is wrong, the second one dies without a word."""
  code = "import os, sys; sys.exit(5 if os.path.exists('x') else open('x', 'w') and 'error: one')"
  command = [sys.executable, "-c", code]
  failed = runner.run(TRIALS[:1], ROOT, lambda trial, directory: command, [], 1, None)
  assert failed == {NAIVE: "exit code 5: it printed nothing"}


@pytest.mark.parametrize(("threads", "seen"), [(1, "1"), (3, "3"), (None, "None")])
def test_a_process_gets_its_number_of_threads(
  threads: int | None, seen: str, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
  run(trials=TRIALS[:1], threads=threads)
  assert Path("calls.txt").read_text() == f"{NAIVE} {seen}\n"


def test_no_more_runs_at_once_than_jobs():
  at_once: list[int] = []

  def look() -> None:
    time.sleep(0.3)  # long enough to start a third one
    at_once.append(len(list(ROOT.glob("*/began"))))
    Path("go").touch()

  thread = later(look, lambda: began(NAIVE, GC))
  run("waits", jobs=2)
  thread.join()
  assert at_once == [2]


def test_a_signal_stops_every_process_with_its_checkpoint_and_the_next_sweep_goes_on():
  process = start_in_a_process_of_its_own("waits")
  later(lambda: process.send_signal(signal.SIGTERM), lambda: began(NAIVE, GC)).join()
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 143
  assert output.endswith("stopped by a signal; the same command goes on\n")
  assert (ROOT / NAIVE / "checkpoint").exists()
  assert (ROOT / GC / "checkpoint").exists()
  assert calls() == sorted([NAIVE, GC])
  assert not list(ROOT.glob("*/failed.json"))
  assert run() == {}
  assert calls() == sorted([*NAMES, NAIVE, GC])


def test_ctrl_c_reaches_a_process_once():
  """The second signal would end a run without a checkpoint, and a terminal sends it to all."""
  process = start_in_a_process_of_its_own("waits")
  later(lambda: None, lambda: began(NAIVE)).join()
  pid = int((ROOT / NAIVE / "began").read_text())
  assert os.getpgid(pid) != os.getpgid(process.pid)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=60)
  assert process.returncode == 143


def test_what_a_killed_sweep_left_running_is_waited_for_and_not_trained_twice(
  monkeypatch: pytest.MonkeyPatch,
):
  process = start_in_a_process_of_its_own("waits")
  later(process.kill, lambda: began(NAIVE, GC)).join()
  process.communicate(timeout=60)
  said: list[str] = []
  say = SweepProgress.say

  def hear(self: SweepProgress, line: str) -> None:
    said.append(line)
    say(self, line)

  monkeypatch.setattr(SweepProgress, "say", hear)
  thread = later(Path("go").touch, lambda: sum("waiting" in line for line in said) == 2)
  assert run("waits") == {}
  thread.join()
  assert calls() == sorted(NAMES)
  assert f"{NAIVE}: waiting for a process that trains there already" in said


def test_a_run_that_was_killed_with_the_sweep_is_started_again():
  process = start_in_a_process_of_its_own("waits")
  later(process.kill, lambda: began(NAIVE, GC)).join()
  process.communicate(timeout=60)
  for name in (NAIVE, GC):
    os.kill(int((ROOT / name / "began").read_text()), signal.SIGKILL)
  assert run() == {}
  assert calls() == sorted([*NAMES, NAIVE, GC])


def test_a_directory_that_holds_another_trial_is_refused():
  run(trials=TRIALS[:1])
  runner.check_directories(TRIALS, ROOT)
  changed = Sweep("s", ["large"], ["naive"], bindings=["train_and_evaluate.max_steps=3"]).trials()
  with pytest.raises(SweepError, match=r"naive-.* holds a run with bindings .*max_steps=3.*; give"):
    runner.check_directories(changed, ROOT)


def test_a_damaged_description_of_a_trial_is_named():
  run(trials=TRIALS[:1])
  for damage in ('{"model": ', "3"):
    (ROOT / TRIALS[0].name / "trial.json").write_text(damage)
    with pytest.raises(SweepError, match=r"trial.json is damaged \(.*\); remove its folder"):
      runner.check_directories(TRIALS, ROOT)


def test_preparing_that_fails_is_the_error_and_no_run_begins():
  code = "import sys; sys.exit('error: RAW folder nowhere is not there')"
  with pytest.raises(SweepError, match=r"^RAW folder nowhere is not there$"):
    run(prepare=[[sys.executable, "-c", code]])
  assert not Path("calls.txt").exists()
