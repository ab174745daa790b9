"""The page about the optimizers: its code runs, top to bottom, and says what it should."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ranking import optimizers
from ranking.optimizers.clipping import Clip

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "optimizers.md").read_text()


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
    name: value
    for name, value in vars(optimizers).items()
    if isinstance(value, type) and issubclass(value, Clip)
  }
  assert rows.keys() == clips.keys()
  for name, arguments in rows.items():
    for argument, default in re.findall(r"(\w+)=([0-9.]+)", arguments):
      assert getattr(clips[name](), argument) == float(default), name


def test_the_figures_over_widths_are_those_of_the_sweep() -> None:
  rows = pd.read_csv(DOCS / "results" / "widths_kuairand" / "summary.csv")
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
