"""The pictures of the dials, and the page that shows them: complete, small, and right."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from ranking.data.rows import read_whole
from ranking.data.sources.synthetic import Synthetic
from scripts import plot_dials

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "synthetic.md").read_text()
NAMES = [dial.name for dial in plot_dials.DIALS]
SMALL = Synthetic(days=3, rows_per_day=1_000, num_users=100, num_videos=200)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, "-m", "scripts.plot_dials", *arguments]
  return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def turned(settings: str) -> Synthetic:
  """The default log with dials as the page writes them: name=value, with spaces between."""
  pairs = re.findall(r"(\w+)=([0-9.]+)", settings)
  dials: Any = {name: float(value) if "." in value else int(value) for name, value in pairs}
  return Synthetic(**dials)


def test_one_command_draws_a_picture_of_every_dial(tmp_path: Path):
  done = run("--rows_per_day=60", f"--out={tmp_path / 'new'}")
  assert done.returncode == 0, done.stderr
  pictures = sorted((tmp_path / "new").iterdir())
  assert [str(path) for path in pictures] == sorted(done.stdout.split())
  assert [path.stem for path in pictures] == sorted(NAMES)
  for path in pictures:
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_size_that_cannot_be_drawn_is_one_line(tmp_path: Path):
  done = run("--rows_per_day=0", f"--out={tmp_path}")
  assert (done.returncode, done.stdout) == (2, "")
  assert (
    done.stderr
    == "error: Synthetic.rows_per_day is 0; make it a whole number from 1 to 100,000,000\n"
  )


def test_every_dial_is_drawn_at_three_settings_that_it_accepts():
  sizes = {"days", "rows_per_day", "num_users", "num_videos", "seed", "shift_on_day"}
  assert set(NAMES) == {field.name for field in dataclasses.fields(Synthetic)} - sizes
  for dial in plot_dials.DIALS:
    assert len(set(dial.settings)) == 3
    for setting in dial.settings:
      dataclasses.replace(Synthetic(), **{**dial.beside, dial.name: setting})


def test_the_page_has_a_section_a_picture_and_a_command_for_every_dial():
  sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
  assert [section.split()[0] for section in sections] == NAMES
  for name, section in zip(NAMES, sections, strict=True):
    assert re.findall(r"\]\((.*?)\)", section)[0] == f"dials/{name}.png"
    picture = ROOT / "docs" / "dials" / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 60_000
    (command,) = re.findall(r'^`make prepare SET="(.*)"`$', section, re.MULTILINE)
    assert getattr(turned(command.replace("Synthetic.", "")), name) != getattr(Synthetic(), name)


@pytest.mark.parametrize(
  ("settings", "oracle", "frozen"),
  re.findall(r"^\| (.*=.*|default) \| (0\.\d+) \| (0\.\d+) \|$", PAGE, re.MULTILINE),
)
def test_the_page_gives_the_figures_of_day_n(settings: str, oracle: str, frozen: str):
  *_, last = turned(settings).oracle_by_day()
  assert f"{last['oracle']['click']['auc']:.4f}" == oracle
  assert f"{last['frozen']['click']['auc']:.4f}" == frozen


def test_the_page_gives_the_share_of_rows_on_new_videos_and_the_largest_labels():
  text = " ".join(PAGE.split())
  given = re.search(r"([\d.]+) % of the rows at 0, ([\d.]+) % at the default and ([\d.]+) %", text)
  assert given is not None
  logs = [dataclasses.replace(Synthetic(), new_videos_share=share) for share in (0.0, None, 0.5)]
  shares = [plot_dials.share_new_to_the_log(read_whole(log))[-1] for log in logs]
  assert [f"{100 * share:.1f}" for share in shares] == list(given.groups())
  given = re.search(r"largest label is ([\d.]+) at tail 1, ([\d.]+) at 2 and ([\d.]+) at 3", text)
  assert given is not None
  logs = [dataclasses.replace(Synthetic(), tail=tail) for tail in (1.0, 2.0, 3.0)]
  largest = [read_whole(log).labels["log_watch_seconds"].max() for log in logs]
  assert [f"{label:.1f}" for label in largest] == list(given.groups())


def test_a_row_is_new_to_the_log_if_no_earlier_day_has_its_video():
  log = read_whole(SMALL)
  seen: set[int] = set()
  for day, share in enumerate(plot_dials.share_new_to_the_log(log)):
    videos = log.categorical["video_id"][log.day == day].tolist()
    assert share == pytest.approx(np.mean([video not in seen for video in videos]))
    seen |= set(videos)


def test_the_linear_fit_is_least_squares_and_is_not_measured_on_its_own_rows():
  log = read_whole(dataclasses.replace(SMALL, num_noise_features=6))
  features, clicks = np.nan_to_num(log.dense.to_numpy()), log.labels["click"].to_numpy()
  model = LinearRegression().fit(features[: plot_dials.FIT_ROWS], clicks[: plot_dials.FIT_ROWS])
  scores = model.predict(features)
  for day, auc in enumerate(plot_dials.fitted_click_auc(log)):
    rows = np.flatnonzero(log.day == day)
    rows = rows[rows >= plot_dials.FIT_ROWS]
    assert auc == pytest.approx(roc_auc_score(clicks[rows], scores[rows]), abs=1e-4)
