"""Damages what a killed run has left, in many ways, and sees whether a resumed run notices.

  python -m scripts.check_damaged_runs --times=300

A tiny run is killed before its end. Of each copy one file is damaged: a bit flipped, the file cut,
emptied, removed or written over with other text, and the same command goes on. Right is an end with
the very weights, series and figures of a run that nobody touched, or one line that says what is
wrong with exit code 2. Prints a table by file; exits with 1 if any was neither.
"""

import argparse
import collections
import contextlib
import io
import itertools
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ranking.cli import main as ranking
from ranking.training import loop

FEW_FEATURES = "Inputs.without_features={}".format(  # so that models are soon built
  [
    *("author_id", "music_id", "tab", "hour", "day_of_week", "upload_type", "duration_bucket"),
    *("user_active_degree", "register_days_range"),
    *(f"onehot_feat{k}" for k in (0, 1, 2, 4, 7, 8)),
  ]
)
LOG = "Synthetic.days=4 Synthetic.rows_per_day=300 Synthetic.num_users=60 Synthetic.num_videos=90"
RUN = (
  "train_and_evaluate.batch_size=64 train_and_evaluate.steps_per_call=2 "
  "train_and_evaluate.eval_every=6 train_and_evaluate.checkpoint_every=4 "
  f"{FEW_FEATURES}"
)
KINDS = ("flip", "cut", "empty", "remove", "foreign")


def train(run: Path, stores: Path, more: str = "") -> tuple[int | str, str]:
  """The exit code of the command, or what it raised, and what it printed."""
  settings = f"{LOG} {RUN} train_and_evaluate.store_directory='{stores}' {more}"
  words = ["train", "--config=small_clippy.gin", "--scale=proxy", f"--run={run}"]
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
    try:
      code: int | str = ranking([*words, f"--set={settings}"])
    except SystemExit as ended:
      code = str(ended.code)
    except BaseException as error:  # what a person would see as a traceback
      code = repr(error)
  return code, printed.getvalue()


def damage(path: Path, kind: str, chance: random.Random) -> None:
  """Damages one file."""
  content = bytearray(path.read_bytes())
  if kind == "remove":
    path.unlink()
  elif kind == "empty" or not content:
    path.write_bytes(b"")
  elif kind == "cut":
    path.write_bytes(content[: chance.randrange(len(content))])
  elif kind == "foreign":
    path.write_bytes(b"this is another file\n" * chance.randrange(1, 100))
  else:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def outcome(run: Path) -> dict[str, Any]:
  """All of a finished run that does not depend on time."""
  result = json.loads((run / "result.json").read_text())
  kept = ("status", "metrics", "metrics_by", "steps", "parameters", "settings", "micro_divergences")
  files = [*run.glob("*.jsonl"), *run.glob("checkpoints/*/variables*"), run / "predictions.npz"]
  return {
    **{name: result[name] for name in kept},
    **{str(path.relative_to(run)): path.read_bytes() for path in files},
  }


def main() -> int:
  """Runs all damages; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--times", type=int, default=300, help="how many damages; 300")
  parser.add_argument("--seed", type=int, default=0)
  given = parser.parse_args()
  chance, ends = random.Random(given.seed), collections.Counter[tuple[str, str]]()
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    stores, stopped, run = root / "stores", root / "stopped", root / "run"
    whole = loop.finish
    loop.finish = _killed  # type: ignore[assignment]  # the last checkpoint is there, no result
    train(stopped, stores)
    loop.finish = whole
    assert train(run, stores)[0] == 0
    expected = outcome(run)
    files = sorted(path.relative_to(stopped) for path in stopped.rglob("*") if path.is_file())
    cases = itertools.islice(itertools.cycle(itertools.product(KINDS, files)), given.times)
    for kind, name in cases:
      shutil.rmtree(run)
      shutil.copytree(stopped, run)
      damage(run / name, kind, chance)
      code, printed = train(run, stores)
      if code == 0 and outcome(run) == expected:
        end = (
          "same end, said"
          if "passing over" in printed or "no checkpoint" in printed
          else "same end"
        )
      elif code == 2 and printed.count("error: ") == 1 and "Traceback" not in printed:
        end = "refused in one line"
      else:
        end = "WRONG"
        print(f"{kind} {name}: {code}\n{printed[-600:]}", file=sys.stderr)
      ends[str(name).split("/")[0] if "tensorboard" in str(name) else str(name), end] += 1
  for (file, end), count in sorted(ends.items()):
    print(f"{file:50s} {end:20s} {count}")
  return int(any(end == "WRONG" for _, end in ends))


def _killed(*_: Any) -> Any:
  raise KeyboardInterrupt


if __name__ == "__main__":
  sys.exit(main())
