"""ranking compare: what it runs, writes and refuses."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ranking.data.prepare import prepare
from ranking.data.store import DayStore
from ranking.evaluation.predictions import FILE
from ranking.sweeps import execution, files, paired, results
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import contrasts
from tests.command_line import ROOT, ranking
from tests.conftest import TinySource, make_log
from tests.test_comparison import judged
from tests.test_sweep_results import hold

pytestmark = pytest.mark.usefixtures("own_folder")

HEADER = "from __gin__ import dynamic_registration\nfrom ranking.sweeps import sweep\n"
METHODS = f"""{HEADER}
sweep.Sweep.models = ["small"]
sweep.Sweep.methods = ["clippy", "gc", "naive"]
sweep.Sweep.seeds = [0, 1]
"""
SEARCH = f"""{HEADER}
from ranking.sweeps import search
search.Search.columns = {{"Clippy": ["clippy"], "GC": ["gc"], "LAMB": ["lamb"]}}
search.Search.models = ["small"]
search.Search.learning_rate_multipliers = [1.0]
search.Search.seeds = [1, 2]
"""
OUTPUTS = [Path(f"runs/mine/comparison.{ending}") for ending in ("md", "html", "csv")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DayStore:
  return prepare(TinySource(make_log()), tmp_path_factory.mktemp("store"))


def write(text: str) -> str:
  Path("mine.gin").write_text(text)
  return "mine.gin"


def make(file: str, reference: str = "clippy", behaviour: str = "ok") -> int:
  return ranking("compare", file, f"--reference={reference}", behaviour=behaviour)


def make_search(file: str, reference: str = "Clippy") -> int:
  return make(file, reference, "fails:")


def calls() -> list[str]:
  return sorted(line.split()[0] for line in Path("calls.txt").read_text().splitlines())


def finish(file: str, store: DayStore, methods: tuple[str, ...] = ("clippy", "gc")) -> None:
  """Runs of these methods of a sweep, with predictions."""
  for trial in files.read(file, Sweep).trials():
    if trial.coordinates["method"] in methods:
      judged(Path("runs/mine"), trial, store)


def search(file: str, store: DayStore, missing: str = "nothing") -> None:
  """All runs of a search and its repeats but those with a part in their names."""
  described = files.read(file, Search)
  for tried in described.trials():
    for trial in (tried, *described.repeats_of(tried)):
      if missing in trial.name:
        hold(Path("runs/mine"), trial)
      else:
        judged(Path("runs/mine"), trial, store)


def test_a_sweep_runs_what_is_not_finished_and_is_compared(
  store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(METHODS)
  finish(file, store)
  assert make(file) == 0
  assert calls() == [f"small-naive-times=1-seed={seed}" for seed in (0, 1)]
  printed = capfd.readouterr().out
  assert "| small | click AUC (%) ↑ | naive | *diverged (2 of 2)* |" in printed
  assert printed.splitlines()[-1].startswith("runs/mine: 4 ok, 2 diverged; runs/mine/comparison.md")
  read = pd.read_csv(OUTPUTS[2])
  lost = read.method == "naive"
  assert set(read.outcome[lost]) == {"diverged"}
  assert set(read.whose[lost]) == {"method"}
  assert read.difference.isna().tolist() == lost.tolist()
  assert Path("runs/mine/table.csv").is_file()
  first = [path.read_bytes() for path in OUTPUTS]
  assert make(file, behaviour="fails:") == 0
  assert len(calls()) == 2
  assert [path.read_bytes() for path in OUTPUTS] == first


def test_a_run_that_fails_leaves_its_method_open(
  store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(METHODS)
  finish(file, store)
  assert make(file, behaviour="fails:naive-times=1-seed=1") == 1
  printed = capfd.readouterr()
  assert "| naive | *1 of 2 runs* |" in printed.out
  assert "failed twice: small-naive-times=1-seed=1: exit code 1" in printed.err


def test_a_table_2_is_compared_by_its_repeats_and_nothing_is_run(
  store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(SEARCH)
  search(file, store)
  assert make_search(file) == 0
  assert not Path("calls.txt").exists()
  read = pd.read_csv(OUTPUTS[2])
  assert read.method.tolist() == ["GC", "LAMB"] * 2
  assert set(read.reference) == {"Clippy"}
  assert read.seeds.tolist() == [2] * 4
  assert read.difference.notna().all()
  assert "| small | click AUC (%) ↑ | GC | " in capfd.readouterr().out
  assert "The settings were chosen by the click AUC of this very day N" in OUTPUTS[0].read_text()
  repeats = [[f"small-{name}-times=1-seed={seed}" for name in ("gc", "clippy")] for seed in (1, 2)]
  pairs = [(Path("runs/mine", gc), Path("runs/mine", clippy)) for gc, clippy in repeats]
  assert read.difference[0] == pytest.approx(paired.over_seeds(pairs, "click").value, rel=1e-12)


@pytest.mark.parametrize(
  ("missing", "outcome"),
  [("lamb-times=1-seed=0", "0 of 1 runs of the search"), ("lamb-times=1-seed=2", "1 of 2 runs")],
)
def test_unfinished_columns_of_a_table_2_are_said_to_be_so(
  missing: str, outcome: str, store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(SEARCH)
  search(file, store, missing)
  assert make_search(file) == 0
  assert f"| LAMB | *{outcome}* |" in capfd.readouterr().out


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
  printed = capfd.readouterr()
  assert printed.out == ""
  assert len(printed.err.splitlines()) == 1
  return printed.err


@pytest.mark.parametrize(
  ("text", "reference", "message"),
  [
    (METHODS, "clipy", "no method 'clipy' to compare with; the nearest is 'clippy'"),
    (METHODS + "sweep.Sweep.methods = ['gc']", "gc", "gc is the only method; give the exp"),
    (METHODS + "sweep.Sweep.models = []", "gc", "models: empty, which leaves no trial"),
    (SEARCH, "clipy", "no method 'clipy' to compare with; the nearest is 'Clippy'"),
    (SEARCH, "GC", "runs/mine holds no run of a sweep (no */trial.json)"),
  ],
)
def test_bad_input_is_one_line_before_any_run(
  text: str,
  reference: str,
  message: str,
  capfd: pytest.CaptureFixture[str],
):
  assert make(write(text), reference) == 2
  assert re.match(rf"error: .*{re.escape(message)}", one_line(capfd))
  assert not Path("runs").exists()


def test_a_table_2_without_its_reference_says_how_to_finish_it(
  store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(SEARCH)
  search(file, store, "clippy-times=1-seed=2")
  assert make_search(file) == 2
  assert one_line(capfd) == (
    "error: runs/mine has Clippy finished on no model; run: ranking sweep mine.gin\n"
  )
  assert not OUTPUTS[0].exists()


def test_a_search_that_was_changed_after_its_runs_is_refused(
  store: DayStore, capfd: pytest.CaptureFixture[str]
):
  file = write(SEARCH)
  search(file, store)
  write(SEARCH + "search.Search.scale = 'paper'")
  assert make_search(file) == 2
  assert "holds a run with scale proxy, this sweep has paper" in one_line(capfd)


def test_runs_without_predictions_or_store_are_named_in_one_line(
  store: DayStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
  file = write(SEARCH)
  own = shutil.copytree(store.directory, tmp_path / "own")
  search(file, DayStore(own))
  (Path("runs/mine/small-gc-times=1-seed=2") / FILE).unlink()
  assert make_search(file) == 2
  assert one_line(capfd) == (
    f"error: runs/mine/small-gc-times=1-seed=2/{FILE} is not there; finish the run, or make it "
    "again\n"
  )
  other = Path("runs/mine/small-gc-times=1-seed=1") / FILE
  shutil.copy(other, Path("runs/mine/small-gc-times=1-seed=2"))
  shutil.rmtree(own)
  assert make_search(file) == 2
  assert re.match(rf"error: {own} is no day store", one_line(capfd))
  assert not OUTPUTS[0].exists()


@pytest.mark.parametrize("flag", ["raw", "jobs", "shard"])
def test_what_says_how_to_run_is_refused_with_a_search(
  flag: str, capfd: pytest.CaptureFixture[str]
):
  assert ranking("compare", write(SEARCH), "--reference=Clippy", f"--{flag}=2") == 2
  assert one_line(capfd) == (
    f"error: --{flag} is for runs, and those of a search are not run here; leave it out\n"
  )


def test_the_days_of_the_repository_are_the_last_seven_of_every_method():
  days = files.read(str(ROOT / "experiments" / "days_kuairand.gin"), Sweep)
  trials = days.trials()
  assert len(trials) == 70
  places = contrasts.methods(days, results.NONE)
  assert [place.title for place in places] == ["gc", "agc", "lamb", "clippy", "layer_clippy"]
  assert {(place.at("model"), place.setting) for place in places} == {("large_dcn", "")}
  for place in places:
    assert sorted(place.names()) == [(left_out, seed) for left_out in range(7) for seed in (0, 1)]
  assert len(execution.of_each_log(trials, None)) == 7
