"""Runs a sweep of eight on a Ray cluster of two nodes in this machine, and kills one of them.

  python -m scripts.check_ray

A node is killed once it has a checkpoint to lose. Right is a table that is complete, and equal to
that of the same sweep on the local runner in all that does not depend on time. Needs ray.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from ray.cluster_utils import Cluster

SWEEP = """from __gin__ import dynamic_registration
from ranking.sweeps import sweep
sweep.Sweep.models = ["small"]
sweep.Sweep.methods = ["naive", "clippy"]
sweep.Sweep.learning_rate_multipliers = [1.0, 2.0]
sweep.Sweep.seeds = [0, 1]
sweep.Sweep.scale = "proxy"
sweep.Sweep.bindings = [
  "Synthetic.days=4",
  "Synthetic.rows_per_day=2000",
  "Inputs.without_features=['author_id', 'music_id', 'tab', 'hour']",
  "train_and_evaluate.batch_size=64",
  "train_and_evaluate.checkpoint_every=20",
]
"""
OF_TIME = ["seconds", "examples_per_second", "run", "command"]


def sweep(root: Path, engine: str, address: str = "") -> "subprocess.Popen[bytes]":
  """Starts the sweep in a folder of its own."""
  root.mkdir(exist_ok=True)
  (root / "eight.gin").write_text(SWEEP)
  words = ["-m", "ranking", "sweep", "eight.gin", f"--engine={engine}"]
  environment = {**os.environ, "RAY_ADDRESS": address}
  return subprocess.Popen([sys.executable, *words], cwd=root, env=environment)


def table(root: Path) -> pd.DataFrame:
  """What came of it, without what depends on time."""
  whole = pd.read_parquet(root / "runs" / "eight" / "table.parquet")
  return whole.drop(columns=OF_TIME).sort_values(["trial", "task"]).reset_index(drop=True)


def begun(root: Path) -> set[Path]:
  """The runs that have a checkpoint."""
  return {path.parent for path in root.glob("runs/eight/*/checkpoints/step-*")}


def main() -> int:
  """Runs both sweeps; returns the exit code."""
  os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)  # of the nodes, too
  with tempfile.TemporaryDirectory() as folder:
    local, far = Path(folder, "local"), Path(folder, "ray")
    if code := sweep(local, "local").wait():
      return code
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
      node, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
      process = sweep(far, "ray", cluster.address)
      while process.poll() is None and len(begun(far)) < 2:
        time.sleep(0.1)
      cluster.remove_node(node, allow_graceful=False)
      print("killed one node of two", flush=True)
      code = process.wait()
    finally:
      cluster.shutdown()
    texts = [path.read_text() for path in far.glob("runs/eight/*/output.txt")]
    starts = sum(text.count(" steps of ") for text in texts)
    one, other = table(local), table(far)
  print(f"exit code {code}; {len(texts)} runs, begun {starts} times")
  print(f"{other.trial.nunique()} runs in the table, {int(other.value.notna().sum())} figures")
  pd.testing.assert_frame_equal(one, other)
  print("the table is complete and equal to the local runner's")
  return code


if __name__ == "__main__":
  sys.exit(main())
