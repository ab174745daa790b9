"""The commands of Tables 2 and 3: both stages, run twice, killed, sharded; a script trains."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import table3_command as table3
from ranking.sweeps import command as sweep
from ranking.sweeps import table2_command as table2
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep
from tests.test_sweep_runner import later

pytestmark = pytest.mark.usefixtures("own_folder")

ROOT = Path(__file__).parent.parent
FAKE = (sys.executable, str(ROOT / "tests" / "fake_trainer.py"))
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
ABLATIONS = f"""{HEADER}
sweep.Sweep.models = ["small"]
sweep.Sweep.methods = ["naive"]
sweep.Sweep.seeds = [0, 1, 2]
sweep.Sweep.ablations = {{"none": [], "deep": ["DenseLayers.hidden_units=[8, 8]"]}}
"""
OUTPUTS = [f"runs/mine/{name}" for name in ("table2.md", "table2.html", "table2.csv", "table.csv")]


def write(text: str, name: str = "mine") -> str:
  path = Path(f"{name}.gin")
  path.write_text(text)
  return str(path)


def make2(file: str, *arguments: str, behaviour: str = "ok") -> int:
  return table2.main([f"--experiment={file}", *arguments], (*FAKE, behaviour))


def make3(file: str, *arguments: str, behaviour: str = "ok") -> int:
  return table3.main([f"--experiment={file}", *arguments], (*FAKE, behaviour))


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
  search = sweep.read(str(ROOT / "experiments" / f"table2_{log}.gin"), Search)
  trials = search.trials()
  for trial in trials:
    sweep.check(trial, None)
  assert {trial.data for trial in trials} == {log}
  rates = 2
  peers = (3 + 1 + 1) if log == "kuairand" else 0
  assert len(trials) == models * rates * (1 + 3 + 3 + 3 + 1 + 2 + 1 + peers)
  assert search.search_days_earlier == (11 if log == "synthetic" else 0)
  grids = {
    title: [list(trial.thresholds.values()) for trial, _ in cell.candidates[::rates]]
    for cell in search.cells()
    for title in [cell.column]
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
  assert [len(cell.candidates[0].repeats) for cell in search.cells()] == [seeds] * models * len(
    grids
  )


def test_the_ablations_of_the_repository_are_those_of_the_paper():
  ablations = sweep.read(str(ROOT / "experiments" / "table3_kuairand.gin"), Sweep)
  assert len(ablations.trials()) == 6 * 10
  assert list(ablations.ablations) == [
    *("unchanged", "small_layers", "no_dcn", "fewer_features"),
    *("one_task_less", "two_tasks_less"),
  ]


def test_table_2_searches_then_repeats_the_best_and_a_second_time_does_nothing(
  capfd: pytest.CaptureFixture[str],
):
  file = write(SEARCH)
  assert make2(file) == 0
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
  assert make2(file, behaviour="fails:") == 0
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
  assert make2(file, behaviour=f"waits:{part}") == 143
  thread.join()
  assert not Path(OUTPUTS[0]).exists()
  assert make2(file) == 0
  after_the_kill = outputs()
  (tmp_path / "whole").mkdir()
  monkeypatch.chdir(tmp_path / "whole")
  assert make2(write(SEARCH)) == 0
  assert outputs() == after_the_kill


def test_two_shards_one_after_the_other_and_the_first_again_make_the_whole_table(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  file = write(SEARCH)
  assert make2(file, "--shard=1/2") == 0
  assert "of 6 runs of the search*" in Path(OUTPUTS[0]).read_text()
  assert make2(file, "--shard=2/2") == 0
  assert make2(file, "--shard=1/2") == 0
  assert len(calls()) == len(set(calls()))
  sharded = outputs()
  (tmp_path / "whole").mkdir()
  monkeypatch.chdir(tmp_path / "whole")
  assert make2(write(SEARCH)) == 0
  assert outputs() == sharded


def test_a_search_run_that_fails_leaves_its_column_open_and_the_others_go_on(
  capfd: pytest.CaptureFixture[str],
):
  file = write(SEARCH)
  assert make2(file, behaviour="fails:-lamb-times=2") == 1
  printed = capfd.readouterr()
  assert "failed twice: small-lamb-times=2-seed=0: exit code 1" in printed.err
  assert "*5 of 6 runs of the search*" in printed.out
  repeated = [name for name in calls() if "seed=1" in name]
  assert [name.split("-")[1] for name in sorted(repeated)] == ["gc", "naive"]
  assert make2(file) == 0
  assert "runs of the search*" not in Path(OUTPUTS[0]).read_text()


def test_table_3_runs_its_sweep_once(capfd: pytest.CaptureFixture[str]):
  file = write(ABLATIONS)
  assert make3(file) == 0
  assert len(calls()) == 6
  assert "| deep | 3 | 3 | 100% | 44% … 100% | 1.000 | 1.000 |" in capfd.readouterr().out
  names = sorted(path.name for path in Path("runs/mine").glob("table*"))
  assert names == ["table.csv", "table.parquet", "table3.csv", "table3.html", "table3.md"]
  assert make3(file, behaviour="fails:") == 0
  assert len(calls()) == 6


@pytest.mark.parametrize(
  ("make", "text", "message"),
  [
    (make2, SEARCH + "search.Search.models = ['smal']", "no CONFIG 'smal_naive.gin'; the nearest"),
    (make2, SEARCH + "search.Search.seeds = []", "seeds: empty, which leaves no trial"),
    (make2, SEARCH + "search.Search.columns = {}", "columns: {}; make it a map of titles"),
    (make2, SEARCH + "search.Search.seds = [1]", "doesn't have a parameter named 'seds'"),
    (make2, SEARCH + "include 'experiments/parts/table_columns.gin'", "line 14"),
    (make2, SEARCH + "search.Search.bindings = ['Clipy.x=1']", "no setting 'Clipy.x'"),
    (make2, ABLATIONS, "mine.gin: it describes a Sweep, this needs a Search"),
    (make3, SEARCH, "mine.gin: it describes a Search, this needs a Sweep"),
    (make3, ABLATIONS + "sweep.Sweep.methods = ['naive', 'gc']", "mine: Table 3 needs ablations, "),
    (make3, ABLATIONS + "sweep.Sweep.data = 'kuairan'", "no DATA 'kuairan'; the nearest is 'kuair"),
  ],
)
def test_bad_input_is_one_line_before_any_run(
  make: Callable[..., int], text: str, message: str, capfd: pytest.CaptureFixture[str]
):
  assert make(write(text)) == 2
  printed = capfd.readouterr()
  assert printed.out == ""
  assert re.match(rf"error: .*{re.escape(message)}", printed.err)
  assert len(printed.err.splitlines()) == 1
  assert not Path("runs").exists()


@pytest.mark.parametrize("make", [make2, make3])
def test_an_experiment_that_is_not_there_is_one_line(
  make: Callable[..., int], capfd: pytest.CaptureFixture[str]
):
  Path("experiments").mkdir()
  write(SEARCH, "experiments/table2_kuairand")
  assert make("experiments/table2_kuairan.gin") == 2
  assert capfd.readouterr().err == (
    "error: no experiment 'experiments/table2_kuairan.gin'; "
    "the nearest is 'experiments/table2_kuairand.gin'\n"
  )
