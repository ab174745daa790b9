"""The library of labelled curves: which runs are simulated."""

from collections.abc import Iterator

import numpy as np

from experiments.verdicts.simulation import Curve, Event, Task, simulate
from ranking.stability.divergence import Status

ALIVE: tuple[Status, ...] = ("ok", "learned_nothing")
KINDS = (
  "healthy",
  "slow",
  "short",
  "rare",
  "few labels",
  "cannot be learnt",
  "rough start",
  "drift",
  "shift",
  "spike",
  "blow-up that returns",
  "lost and back",
  "spike of one task",
  "blow-up",
  "blow-up at the start",
  "lost",
  "dead",
  "not finite",
  "blow-up of one task",
  "death of one task",
  "lost for long, back in part",
)


def curves(count: int, offset: int = 0) -> Iterator[Curve]:
  """So many curves of each kind; those of other offsets are others."""
  for k, kind in enumerate(KINDS):
    for number in range(count):
      yield curve(kind, 1000 * k + offset + number)


def curve(kind: str, seed: int) -> Curve:
  """A run of a kind: its log, rates and steps are drawn."""
  random = np.random.default_rng(10_000 + seed)
  steps = int(random.choice([250, 400, 800, 1500]))
  rows = int(random.choice([128, 256, 512]))
  tasks = [
    Task("binary", float(random.choice([0.5, 0.3, 0.1])), random.uniform(0.7, 1.5)),
    Task("binary", float(random.choice([0.05, 0.02, 0.01])), random.uniform(0.7, 1.5)),
    Task("normal" if random.random() < 0.5 else "skewed", signal=random.uniform(0.5, 1.2)),
  ][: int(random.choice([1, 2, 3, 3]))]
  learns_over, statuses, step, task = random.uniform(10, 60), ALIVE, None, None
  events: list[Event] = []
  more: dict[str, float] = {}
  at = int(random.integers(max(110, steps // 4), steps - 60 if steps > 300 else steps - 55))
  small = float(np.exp(random.uniform(np.log(1.5), np.log(8))))
  large = float(np.exp(random.uniform(np.log(4), np.log(1e4))))
  if kind == "slow":
    learns_over = random.uniform(0.5, 3) * steps
  elif kind == "short":
    steps, learns_over = int(random.integers(5, 150)), random.uniform(5, 200)
    more["overshoot"] = float(random.choice([0.0, 0.5, 1.5]))
  elif kind == "rare":
    rate = float(np.exp(random.uniform(np.log(0.0005), np.log(0.01))))
    overfit = random.uniform(0.05, 0.4)
    tasks = [Task("binary", rate, random.uniform(0, 1.5), overfit), *tasks][: len(tasks)]
    if random.random() < 0.3:
      tasks[0] = Task("sparse", 5 * rate, random.uniform(0, 1), 0.05)
  elif kind == "few labels":
    more["labelled"] = random.uniform(0.005, 0.05)
  elif kind == "cannot be learnt":
    tasks = [Task(each.kind, each.rate, 0.0, random.uniform(0.02, 0.15)) for each in tasks]
  elif kind == "rough start":
    more["overshoot"] = random.uniform(0.5, 3)
  elif kind == "drift":
    more["drift"] = random.uniform(-0.5, 0.5)
  elif kind == "shift":
    lasts = int(random.integers(20, 100))
    events = [Event(at, lasts, skill=random.uniform(0.5, 0.8), ramp=5)]
  elif kind in ("spike", "spike of one task"):
    task = int(random.integers(len(tasks))) if kind == "spike of one task" else None
    events = [Event(at, int(random.choice([1, 2, 5, 15])), small, skill=1.0, task=task)]
    statuses, step = ("micro_diverged",), at
  elif kind == "blow-up that returns":
    lasts = int(random.integers(10, 35))
    events = [Event(at, lasts, large, back=random.uniform(0.6, 1))]
    statuses, step = ("micro_diverged",), at
  elif kind == "lost and back":
    events = [Event(at, int(random.integers(10, 30)), random.uniform(1.0, 3.0))]
    statuses, step = ("micro_diverged",), at
  elif kind == "blow-up":
    events = [Event(at, None, large, ramp=int(random.choice([0, 0, 5, 20])))]
  elif kind == "blow-up at the start":
    at = int(random.integers(2, 40))
    events = [Event(at, None, large)]
    if random.random() < 0.5:  # and comes down to the constant, knowing nothing
      at_end = at + int(random.integers(20, 120))
      events = [Event(at, at_end - at, large, back=0.0)]
  elif kind == "lost":
    events = [Event(at, None, random.uniform(0, 0.3), ramp=int(random.choice([0, 0, 5])))]
  elif kind == "dead":
    events = [Event(at, None, random.uniform(0, 0.3), dead=True)]
  elif kind == "not finite":
    events = [Event(at, None, nan=True)]
  elif kind in ("blow-up of one task", "death of one task"):
    task = int(random.integers(len(tasks)))
    dies = kind == "death of one task"
    events = [Event(at, None, 0.0 if dies else large, dead=dies, task=task)]
  elif kind == "lost for long, back in part":
    steps = max(steps, 800)
    at = int(random.integers(200, steps - 500))
    events = [Event(at, int(random.integers(80, 250)), random.uniform(0.5, 20), back=0.7)]
  if KINDS.index(kind) >= KINDS.index("blow-up"):
    statuses, step = ("diverged",), at
  columns = simulate(seed, tasks, steps, rows, learns_over, events, **more)
  return Curve(kind, statuses, step, task, *columns)
