"""ranking report: one page of finished runs, whatever they are of."""

import json
from pathlib import Path

import pytest

from ranking.sweeps import results
from ranking.sweeps.figures import style
from ranking.sweeps.figures.pictures import pictures
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import rendering, summary
from tests.command_line import ranking
from tests.fake_trainer import result
from tests.test_sweep_results import finished, hold
from tests.test_tables import EVIL, Page

pytestmark = pytest.mark.usefixtures("own_folder")

SWEEP = Sweep("mine", ["large"], ["naive", "gc"], learning_rates=[0.1, 0.2])
ROOT = Path("runs", "mine")


def experiment() -> None:
  """What a finished sweep leaves."""
  for trial in SWEEP.trials():
    hold(ROOT, trial, result=finished(trial, 0.7252))
  table = results.read([ROOT])
  rendering.write(summary.summary(SWEEP, table), ROOT / "summary")
  for name, figure in pictures(SWEEP, table):
    style.save(figure, ROOT / name)


def single(name: str = "single", **more: str) -> Path:
  """What `ranking train` leaves."""
  directory = Path("runs", name)
  directory.mkdir(parents=True)
  (directory / "result.json").write_text(json.dumps({**result("nan"), **more}))
  return directory


def page_of(*folders: str) -> Page:
  assert ranking("report", *folders, "--out=out/page.html") == 0
  return Page(Path("out/page.html").read_text())


def test_a_folder_of_all_runs_is_one_page_with_tables_pictures_and_runs(
  capfd: pytest.CaptureFixture[str],
):
  experiment()
  single()
  page = page_of("runs")
  assert page.open == []
  grid, *_ = page.tables
  assert [row[:2] for row in grid[1:]] == [[m, r] for m in ("naive", "gc") for r in ("0.1", "0.2")]
  assert page.tags.count("img") == 2
  runs, alone = page.tables[-2:]
  assert [row[0] for row in runs[1:]] == sorted(trial.name for trial in SWEEP.trials())
  assert runs[1][1:] == ["ok", "large", "gc", "2026-01-18", "click AUC 72.52, seconds RMSE 1.500"]
  assert alone[1] == [
    *("single", "ok", "large", "gc", "2026-01-18"),
    "click AUC not finite, seconds RMSE 1.500",
  ]
  assert capfd.readouterr().out == "out/page.html\n"


def test_the_page_needs_nothing_from_elsewhere():
  experiment()
  page_of("runs/mine")
  text = Path("out/page.html").read_text()
  assert 'src="data:image/svg+xml;base64,' in text
  assert not [link for link in ("http", "<script", "url(", "@import") if link in text]


def test_what_a_run_is_called_is_text_and_a_file_that_is_no_document_is_left_out():
  directory = single("<b>", status=EVIL, model=EVIL, method=EVIL)
  (directory.parent / "own.html").write_text("<script>mine</script>")
  page = page_of("runs")
  assert not {"script", "b"} & set(page.tags)
  assert page.tables[-1][1][:4] == ["<b>", EVIL, EVIL, EVIL]


def test_runs_that_are_not_finished_say_so():
  hold(ROOT, SWEEP.trials()[0], failed={"error": "it broke", "exit_code": 1})
  hold(ROOT, SWEEP.trials()[1])
  assert [row[1] for row in page_of("runs/mine").tables[-1][1:]] == ["failed", "unfinished"]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "error: empty holds no run; name run directories, or folders of them\n"),
    ("{", "error: empty cannot be read (ValueError: empty/result.json is damaged ("),
    ('{"status": "ok"}', "error: empty cannot be read (KeyError: 'metrics')\n"),
  ],
)
def test_what_is_no_run_is_one_line(
  content: str | None, message: str, capfd: pytest.CaptureFixture[str]
):
  Path("empty").mkdir()
  if content:
    Path("empty/result.json").write_text(content)
  assert ranking("report", "empty") == 2
  assert capfd.readouterr().err.startswith(message)
  assert not Path("runs").exists()
