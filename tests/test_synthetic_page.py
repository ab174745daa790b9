"""The page about the generated log shows every dial, and its figures are those of the log."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data.sources.synthetic import Synthetic
from tests.whole_log import read_whole

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "synthetic.md").read_text()
WORDS = " ".join(PAGE.split())  # wherever its lines break
SIZES = {"days", "rows_per_day", "num_users", "num_videos", "seed", "shift_on_day"}


def turned(settings: str) -> Synthetic:
  """The default log with dials as the page writes them: name=value, with spaces between."""
  pairs = re.findall(r"(\w+)=([0-9.]+)", settings)
  dials: Any = {name: float(value) if "." in value else int(value) for name, value in pairs}
  return Synthetic(**dials)


def test_the_page_has_a_section_a_picture_and_a_command_for_every_dial() -> None:
  sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
  names = [section.split()[0] for section in sections]
  assert set(names) == {field.name for field in dataclasses.fields(Synthetic)} - SIZES
  for name, section in zip(names, sections, strict=True):
    assert re.findall(r"\]\((.*?)\)", section)[0] == f"dials/{name}.png"
    (command,) = re.findall(r'^`make prepare SET="(.*)"`$', section, re.MULTILINE)
    assert getattr(turned(command.replace("Synthetic.", "")), name) != getattr(Synthetic(), name)


@pytest.mark.parametrize(
  ("settings", "oracle", "frozen"),
  re.findall(r"^\| (.*=.*|default) \| (0\.\d+) \| (0\.\d+) \|$", PAGE, re.MULTILINE),
)
def test_the_page_gives_the_best_figures_of_day_n(settings: str, oracle: str, frozen: str) -> None:
  *_, last = turned(settings).oracle_by_day()
  assert f"{last['oracle']['click']['auc']:.4f}" == oracle
  assert f"{last['frozen']['click']['auc']:.4f}" == frozen
  if settings == "default":  # said on other pages, too
    for page in ("README.md", "docs/logs.md"):
      assert oracle in (ROOT / page).read_text(), page


def test_the_page_gives_the_share_of_rows_on_new_videos() -> None:
  said = re.search(r"([\d.]+) % of the rows at 0, ([\d.]+) % at the default and ([\d.]+) %", WORDS)
  assert said is not None
  for wanted, share in zip(said.groups(), (0.0, None, 0.5), strict=True):
    log = read_whole(dataclasses.replace(Synthetic(), new_videos_share=share))
    videos, of_day_n = log.categorical["video_id"].to_numpy(), log.day == log.day.max()
    assert f"{100 * (~np.isin(videos[of_day_n], videos[~of_day_n])).mean():.1f}" == wanted


def test_the_page_gives_the_largest_labels() -> None:
  said = re.search(r"largest label is ([\d.]+) at tail 1, ([\d.]+) at 2 and ([\d.]+) at 3", WORDS)
  assert said is not None
  for wanted, tail in zip(said.groups(), (1.0, 2.0, 3.0), strict=True):
    log = read_whole(dataclasses.replace(Synthetic(), tail=tail))
    assert f"{log.labels['log_watch_seconds'].max():.1f}" == wanted


def test_the_page_says_what_a_shift_costs() -> None:
  rows = pd.read_csv(ROOT / "experiments" / "results" / "shift_synthetic" / "summary.csv")
  rows = rows[rows.task == "click"]
  assert (rows.finished == 2).all()
  assert (rows.diverged == 0).all()
  micro = rows.set_index(["method", "ablation"]).micro_diverged
  assert micro[micro > 0].to_dict() == {
    ("naive", "no_shift"): 2,
    ("naive", "shift"): 2,
    ("agc", "no_shift"): 1,
    ("agc", "shift"): 1,
  }
  means = rows.pivot_table(index="method", columns="ablation", values="mean")
  cost = 100 * (means.no_shift - means["shift"])
  assert (cost.idxmin(), cost.idxmax()) == ("naive", "lamb")
  assert f"{cost.min():.2f} (naive) to {cost.max():.2f} (LAMB) points of click AUC" in WORDS
