"""Where the runs of a sweep take place: the same runner on each; clusters only where installed."""

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranking.files import unsealed
from ranking.run_directory import is_finished
from ranking.sweeps import engines, runner
from ranking.sweeps.engines.work import Alone, Ended, Work, cores_of_a_run
from ranking.sweeps.sweep import SweepError, Trial
from ranking.sweeps.trial_file import read_trial
from tests.test_sweep_runner import FAKE, NAIVE, NAMES, ROOT, TRIALS, calls, later

pytestmark = pytest.mark.usefixtures("own_folder")


class Far:
  """A Process as a cluster's: the work is sent as bytes, and done elsewhere."""

  remark: str | None = None

  def __init__(self, work: Work):
    self._ended: Ended | None = None
    sent = pickle.dumps(work)
    self._thread = threading.Thread(target=lambda: self._do(pickle.loads(sent)))
    self._thread.start()

  def _do(self, work: Work) -> None:
    self._ended = Alone(work).wait()

  def poll(self) -> Ended | None:
    return self._ended

  def stop(self) -> None:
    self._thread.join()


class Lost(Far):
  """The machine of the first work that is begun is lost, before its process has begun."""

  works = 0

  def _do(self, work: Work) -> None:
    Lost.works += 1
    if Lost.works == 1:
      self._ended = Ended(None, None, "Ray gave it up: the node is gone")
    else:
      super()._do(work)


def run(start: engines.Start, behaviour: str = "ok") -> dict[str, str]:
  @contextmanager
  def engine() -> Iterator[engines.Start]:
    yield start

  def command(trial: Trial, directory: Path) -> list[str]:
    return [sys.executable, str(FAKE), behaviour, "train", f"--run={directory}"]

  return runner.run(TRIALS, ROOT, command, [], 4, 1, engine)


def test_a_cluster_does_what_the_local_runner_does():
  assert run(Far, f"fails:{NAIVE}") == {NAIVE: f"exit code 1: error: {NAIVE} cannot, start 2"}
  assert calls() == sorted([*NAMES, NAIVE])
  assert read_trial(ROOT / NAIVE)["trial"] == NAIVE
  assert run(Far) == {}
  assert calls() == sorted([*NAMES, *[NAIVE] * 2])


def test_a_work_whose_machine_is_lost_is_tried_again_and_the_table_is_complete(
  capfd: pytest.CaptureFixture[str],
):
  assert run(Lost) == {}
  assert all(is_finished(ROOT / name) for name in NAMES)
  assert "failed: Ray gave it up: the node is gone, to be tried again" in capfd.readouterr().out


def test_a_work_that_no_machine_could_begin_is_in_the_table_as_failed():
  class Never(Far):
    def _do(self, work: Work) -> None:
      self._ended = Ended(None, None, "Ray gave it up: no node")

  assert run(Never) == dict.fromkeys(NAMES, "Ray gave it up: no node")
  assert read_trial(ROOT / NAIVE)["trial"] == NAIVE
  failed = unsealed((ROOT / NAIVE / "failed.json").read_text())
  assert failed == {"error": "Ray gave it up: no node", "exit_code": None}


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("slrum", "no ENGINE 'slrum'; the nearest is 'slurm'"),
    ("spark://host:7077", "which prepares logs; a sweep runs on local, slurm or ray"),
    ("duckdb", "which prepares logs; a sweep runs on local, slurm or ray"),
  ],
)
def test_an_engine_that_is_none_is_named(name: str, message: str):
  with pytest.raises(SweepError, match=message):
    engines.engine(name)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_missing_is_named_with_the_cure(
  name: str, package: str, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setitem(sys.modules, package, None)
  monkeypatch.delitem(sys.modules, f"ranking.sweeps.engines.{name}", raising=False)
  message = rf"ENGINE={name} needs {package}, .*; run: pip install 'ranking\[{name}\]'"
  with pytest.raises(SweepError, match=message):
    engines.engine(name)


def test_cores_of_a_run_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("OMP_NUM_THREADS", "many")
  with pytest.raises(SweepError, match="OMP_NUM_THREADS is 'many'; make it the number of cores"):
    cores_of_a_run()


def test_jobs_of_submitit_make_the_runs(monkeypatch: pytest.MonkeyPatch):
  """By its executor of this machine; that of Slurm differs from it in how a job is submitted."""
  submitit = pytest.importorskip("submitit")
  slurm = importlib.import_module("ranking.sweeps.engines.slurm")
  monkeypatch.setenv("PYTHONPATH", str(FAKE.parent.parent))
  start = slurm.submitting(submitit.LocalExecutor(slurm.FOLDER))
  assert run(start, f"fails:{NAIVE}:1") == {}
  assert calls() == sorted([*NAMES, NAIVE])


def test_a_job_that_has_to_end_leaves_a_checkpoint_and_goes_on_when_it_has_its_turn():
  pytest.importorskip("submitit")
  slurm = importlib.import_module("ranking.sweeps.engines.slurm")
  command = (sys.executable, str(FAKE), "waits", "train", f"--run={ROOT / NAIVE}")
  work, job = Work(TRIALS[0], ROOT / NAIVE, command, 1, Path.cwd()), slurm.InJob()
  ended: list[Ended] = []
  thread = threading.Thread(target=lambda: ended.append(job(work)))
  thread.start()
  later(lambda: None, (ROOT / NAIVE / "began").exists).join()
  again = job.checkpoint(work)
  thread.join()
  assert ended[0].code == 143
  assert (ROOT / NAIVE / "checkpoint").exists()
  Path("go").touch()
  assert again.result().status == "diverged"


def test_no_slurm_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch):
  pytest.importorskip("submitit")
  monkeypatch.setenv("PATH", "")
  with pytest.raises(SweepError, match="no Slurm here"), engines.engine("slurm")():
    pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_no_ray_cluster_is_an_error_of_one_line(address: str, monkeypatch: pytest.MonkeyPatch):
  pytest.importorskip("ray")
  monkeypatch.setenv("RAY_ADDRESS", address)
  with (
    pytest.raises(SweepError, match=rf"^no Ray cluster at {address} \(.+\); start one with: ray s"),
    engines.engine("ray")(),
  ):
    pass
