"""The page about the optimizers: its code runs, and its figures are those of published runs."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ranking import configuration
from ranking.optimizers.clipping import Clip
from tests.test_rules import OTHER, SAME

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
PAGE = (ROOT / "docs" / "optimizers.md").read_text()


def test_the_code_of_the_page_runs_and_trains(tmp_path: Path) -> None:
  code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
  program = tmp_path / "example.py"
  program.write_text(code)
  ran = subprocess.run([sys.executable, program], capture_output=True, text=True, cwd=tmp_path)
  assert ran.returncode == 0, ran.stderr
  losses = [float(x) for x in re.findall(r"[0-9.]+", ran.stdout.split("loss [")[1].split("]")[0])]
  assert losses == sorted(losses, reverse=True)
  assert losses[-1] < 0.9 * losses[0]
  assert "steps taken 314 skipped 0" in ran.stdout
  factors = dict(re.findall(r"(\S+):0 +clipping factor ([0-9.]+)", ran.stdout))
  assert factors["embedding_user/embeddings"] == "1.000"  # excluded
  shadows = [float(x) for x in re.findall("GC.s would be ([0-9.]+)", ran.stdout)]
  assert (
    len(shadows) == len(factors) - 2
  )  # the loss of one task does not reach the head of the other
  assert min(shadows) < 1


def test_the_page_gives_the_defaults_of_every_clip() -> None:
  rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE, re.MULTILINE))
  clips = {
    name: made
    for name, made in configuration.CONFIGURABLE.items()
    if isinstance(made, type) and issubclass(made, Clip)
  }
  assert rows.keys() == clips.keys()
  for name, arguments in rows.items():
    for argument, default in re.findall(r"(\w+)=([0-9.]+)", arguments):
      assert getattr(clips[name](), argument) == float(default), name


def test_the_page_says_what_clips_make_of_rows_and_of_a_dense_gradient() -> None:
  ((same, of_rows, other),) = re.findall(
    r"^\| (.*) \| the same step \|\n\| (.*) \| the same if .*\n\| (.*) \| rows: judged",
    PAGE,
    re.MULTILINE,
  )
  said = [set(re.findall(r"`(\w+)", cell)) for cell in (f"{same}, {of_rows}", other)]
  assert said == [{type(clip).__name__ for clip in clips} for clips in (SAME, OTHER)]


def test_the_figures_over_widths_are_those_of_the_sweep() -> None:
  rows = pd.read_csv(RESULTS / "widths_kuairand" / "summary.csv")
  rows = rows[rows.task == "is_click"]
  assert (rows.finished == 2).all()
  table = re.findall(r"^  \| (1e-\d|LayerClippy)[^|]* \| (.*) \|$", PAGE, re.MULTILINE)
  assert len(table) == 4
  for name, cells in table:
    thresholds = "default"
    if name != "LayerClippy":
      thresholds = f"relative_threshold=0.5 absolute_threshold={float(name)}"
    of_row = rows[rows.thresholds == thresholds].sort_values("ablation")
    assert cells.split(" | ") == [f"{100 * mean:.2f}" for mean in of_row["mean"]], name


@pytest.mark.parametrize(
  ("experiment", "option"), [("accumulators", "accumulate"), ("scope", "scope")]
)
def test_the_figures_of_the_two_choices_are_those_of_their_sweeps(
  experiment: str, option: str
) -> None:
  rows = pd.read_csv(RESULTS / f"{experiment}_kuairand" / "summary.csv")
  rows = rows[rows.task == "is_click"]
  assert (rows.finished == 3).all()
  assert (rows.diverged == 0).all()
  table = re.findall(rf'^\| (\w+), `{option}="(\w+)"` \| (.*) \|$', PAGE, re.MULTILINE)
  assert len(table) == len(rows.groupby(["method", "ablation"])) == 4
  for method, value, cells in table:
    of_row = rows[(rows.method == method.lower()) & (rows.ablation == value)]
    shown = [
      f"{100 * row['mean']:.2f} ± {100 * row.deviation:.2f}"
      for _, row in of_row.sort_values("learning_rate").iterrows()
    ]
    assert cells.split(" | ") == shown, (method, value)


def test_the_page_says_what_one_factor_for_all_layers_does_to_gc() -> None:
  rows = pd.read_csv(RESULTS / "scope_kuairand" / "summary.csv")
  rows = rows[(rows.task == "is_click") & (rows.method == "gc")]
  means = rows.pivot_table(index="learning_rate", columns="ablation", values="mean")
  gain = 100 * (means["global"] - means.layer)
  said = f"GC is {-gain[0.1]:.2f} points worse by it at 0.1 and {gain[0.4]:.2f} better at 0.4"
  assert said in " ".join(PAGE.split())


def test_the_map_of_thresholds_is_that_of_its_sweep() -> None:
  rows = pd.read_csv(RESULTS / "thresholds_kuairand" / "summary.csv")
  rows = rows[rows.task == "is_click"].set_index("thresholds")
  table = re.findall(r"^\| relative (0\.\d+) \| (.*) \|$", PAGE, re.MULTILINE)
  assert len(table) * 3 == len(rows) == 9
  assert (rows.finished == 2).all()
  for relative, cells in table:
    for absolute, cell in zip((1e-2, 1e-3, 1e-4), cells.split(" | "), strict=True):
      row = rows.loc[f"relative_threshold={relative} absolute_threshold={absolute}"]
      lost = f"lost {row.diverged} of 2" if row.diverged else ""
      mean = f"{100 * row['mean']:.2f} ± {100 * row.deviation:.2f}"
      assert cell == (lost or mean), (relative, absolute)
