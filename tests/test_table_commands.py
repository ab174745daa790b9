"""ranking sweep on a search: both stages, run twice, killed, sharded; a script trains."""

import os
import re
import signal
from pathlib import Path

import pytest

from ranking.sweeps import execution, files
from ranking.sweeps.search import Search
from tests.command_line import ROOT, ranking
from tests.test_sweep_runner import later

pytestmark = pytest.mark.usefixtures("own_folder")

HEADER = "from __gin__ import dynamic_registration\nfrom ranking.sweeps import sweep\n"
SEARCH = f"""{HEADER}
from ranking.sweeps import search
gc/sweep.Method.name = "gc"
gc/sweep.Method.thresholds = [{{"GradientClipping.threshold": [0.1, 0.01]}}]
search.Search.columns = {{
  "Naive": ["naive"],
  "GC": [@gc/sweep.Method()],
  "Any": [@gc/sweep.Method(), "lamb"],
}}
search.Search.models = ["small"]
search.Search.seeds = [1, 2]
"""
OUTPUTS = [f"runs/mine/{name}" for name in ("table2.md", "table2.html", "table2.csv", "table.csv")]


def write(text: str, name: str = "mine") -> str:
  path = Path(f"{name}.gin")
  path.write_text(text)
  return str(path)


def make(file: str, *arguments: str, behaviour: str = "ok") -> int:
  return ranking("sweep", file, *arguments, behaviour=behaviour)


def calls() -> list[str]:
  return [line.split()[0] for line in Path("calls.txt").read_text().splitlines()]


def outputs() -> list[bytes]:
  return [Path(name).read_bytes() for name in OUTPUTS]


@pytest.mark.parametrize(
  ("log", "models", "seeds"),
  [("kuairand", 3, 3), ("synthetic", 3, 3), ("movielens", 3, 1)],
)
def test_the_searches_of_the_repository_have_the_grids_of_the_paper(
  log: str, models: int, seeds: int
):
  search = files.read(str(ROOT / "experiments" / f"table2_{log}.gin"), Search)
  trials = search.trials()
  for trial in trials:
    execution.log_of(trial, None)
  assert {Path(trial.data).stem for trial in trials} == {f"{log}_start_up"}
  rates = 2
  peers = (3 + 1 + 1) if log == "kuairand" else 0
  assert len(trials) == models * rates * (1 + 3 + 3 + 3 + 1 + 2 + 1 + peers)
  assert search.search_days_earlier == (11 if log == "synthetic" else 0)
  grids = {
    column: [list(trial.thresholds.values()) for trial in search.settings("small", column)[::rates]]
    for column in search.columns
  }
  assert grids == {  # 5.1.3, in its order, and what is not of the paper
    "Naive": [[]],
    "GC": [[1e-1], [1e-2], [1e-3]],
    "AGC": [[1e-2], [1e-3], [1e-4]],
    "LAMB": [[1e-1], [1e-2], [1e-3]],
    "Clippy": [[0.5, 1e-2]],
    "Clippy, searched": [[0.5, 1e-2], [0.5, 1e-3], [0.5, 1e-4]],
    "LayerClippy": [[]],
    **({"RmsClip": [[1e-1], [1e-2], [1e-3]], "AdaGC": [[]], "ZClip": [[]]} if peers else {}),
  }
  assert len(search.repeats_of(trials[-1])) == seeds


@pytest.mark.parametrize("log", ["kuairand", "synthetic"])
def test_table_2_of_the_late_regime_chooses_on_a_day_before_day_n(log: str):
  search = files.read(str(ROOT / "experiments" / f"table2_{log}_late.gin"), Search)
  trials = search.trials()
  for trial in trials:
    execution.log_of(trial, None)
  assert {trial.coordinates["days_left_out"] for trial in trials} == {1}
  assert len(trials) == 34
  assert {trial.coordinates["days_left_out"] for trial in search.repeats_of(trials[-1])} == {0}
  assert set(search.columns) >= {"Naive", "Clippy", "Clippy, as released", "Operator norm"}


def test_table_2_searches_then_repeats_the_best_and_a_second_time_does_nothing(
  capfd: pytest.CaptureFixture[str],
):
  file = write(SEARCH)
  assert make(file) == 0
  searched = [name for name in calls() if name.endswith("seed=0")]
  assert len(searched) == (1 + 2 + 1) * 2
  assert set(calls()[:8]) == set(searched)  # the search comes first
  repeated = calls()[8:]
  assert len(repeated) in (4, 6)  # two or three settings, twice: columns may share one
  assert {name.rpartition("seed=")[2] for name in repeated} == {"1", "2"}
  printed = capfd.readouterr().out
  assert "| small | click AUC (%) ↑ | *diverged (2 of 2)* |" in printed
  assert printed.splitlines()[-1].startswith("runs/mine: ")
  first, count = outputs(), len(calls())
  assert make(file, behaviour="fails:") == 0
  assert len(calls()) == count
  assert outputs() == first
  assert "| small | click AUC" in capfd.readouterr().out


@pytest.mark.parametrize("part", ["seed=0", "seed=1"])
def test_a_table_2_that_was_killed_goes_on_to_the_same_table(
  part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  """In the search, and in the repeats."""
  file = write(SEARCH)
  started = tmp_path / "calls.txt"  # absolute: reading a configuration changes the folder
  thread = later(
    lambda: os.kill(os.getpid(), signal.SIGTERM),
    lambda: started.exists() and part in started.read_text(),
  )
  assert make(file, behaviour=f"waits:{part}") == 143
  thread.join()
  assert not Path(OUTPUTS[0]).exists()
  assert make(file) == 0
  after_the_kill = outputs()
  (tmp_path / "whole").mkdir()
  monkeypatch.chdir(tmp_path / "whole")
  assert make(write(SEARCH)) == 0
  assert outputs() == after_the_kill


def test_two_shards_one_after_the_other_and_the_first_again_make_the_whole_table(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  file = write(SEARCH)
  assert make(file, "--shard=1/2") == 0
  assert "of 6 runs of the search*" in Path(OUTPUTS[0]).read_text()
  assert make(file, "--shard=2/2") == 0
  assert make(file, "--shard=1/2") == 0
  assert len(calls()) == len(set(calls()))
  sharded = outputs()
  (tmp_path / "whole").mkdir()
  monkeypatch.chdir(tmp_path / "whole")
  assert make(write(SEARCH)) == 0
  assert outputs() == sharded


def test_a_search_run_that_fails_leaves_its_column_open_and_the_others_go_on(
  capfd: pytest.CaptureFixture[str],
):
  file = write(SEARCH)
  assert make(file, behaviour="fails:-lamb-times=2") == 1
  printed = capfd.readouterr()
  assert "failed twice: small-lamb-times=2-seed=0: exit code 1" in printed.err
  assert "*5 of 6 runs of the search*" in printed.out
  repeated = [name for name in calls() if "seed=1" in name]
  assert [name.split("-")[1] for name in sorted(repeated)] == ["gc", "naive"]
  assert make(file) == 0
  assert "runs of the search*" not in Path(OUTPUTS[0]).read_text()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (SEARCH + "search.Search.models = ['smal']", "no MODEL 'smal'; the nearest is 'small'"),
    (SEARCH + "search.Search.seeds = []", "seeds: empty, which leaves no trial"),
    (SEARCH + "search.Search.columns = {}", "columns is {}; make it a map of titles"),
    (
      SEARCH + "search.Search.seds = [1]",
      "no setting search.Search.seds; the nearest is 'Search.seeds'",
    ),
    (
      SEARCH + "include 'experiments/parts/table_columns.gin'",
      "line 14: no file experiments/parts/table_columns.gin to include",
    ),
    (SEARCH + "search.Search.bindings = ['Clipy.x=1']", "no setting Clipy.x; the nearest is"),
    ("", "mine.gin describes nothing; make it one Sweep or one Search"),
  ],
)
def test_bad_input_is_one_line_before_any_run(
  text: str, message: str, capfd: pytest.CaptureFixture[str]
):
  assert make(write(text)) == 2
  printed = capfd.readouterr()
  assert printed.out == ""
  assert re.match(rf"error: .*{re.escape(message)}", printed.err)
  assert len(printed.err.splitlines()) == 1
  assert not Path("runs").exists()
