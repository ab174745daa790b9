"""Trains a small transformer with AdamW, Adagrad and Adagrad with Clippy: the paper's Figure 7.

Each cell of the grid (method, warm-up, learning rate, seed) is a line of
experiments/results/transformer/<data>.jsonl; a cell that has one is not trained again. Options
choose a part of the grid, as small as one cell. experiments/transformer.md and its pictures are
written of the made-up languages.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

from experiments.transformer import grid, made_up, page, wmt
from experiments.transformer.grid import Cell
from experiments.transformer.training import SHORTEST, Trainer
from ranking.errors import InputError

CORPORA = {"made_up": made_up.corpus, "wmt": wmt.corpus}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments transformer`."""
  parser.add_argument(
    "--data", choices=CORPORA, default="made_up", help="wmt downloads WMT 2014, English to German"
  )
  parser.add_argument("--methods", nargs="+", choices=grid.RATES, default=list(grid.RATES))
  parser.add_argument("--warm-ups", nargs="+", choices=grid.WARM_UPS, default=list(grid.WARM_UPS))
  parser.add_argument("--rates", nargs="+", type=float, help="each method's own if not given")
  parser.add_argument("--seeds", nargs="+", type=int, default=list(grid.SEEDS))
  parser.add_argument("--steps", type=int, default=grid.STEPS, help="of each run")
  parser.add_argument("--results", type=Path, default=page.FOLDER, help="folder of <data>.jsonl")


def run(given: argparse.Namespace) -> int:
  """Trains the cells that have no line yet, and writes the page. Raises InputError."""
  file = given.results / f"{given.data}.jsonl"
  ends, asked = grid.read(file), list(cells(given))
  waiting = [cell for cell in asked if cell not in ends]
  if waiting:
    corpus = CORPORA[given.data]()
    trainer = Trainer(waiting[0].method, corpus)
    for cell in waiting:
      if cell.method != trainer.method:
        trainer = Trainer(cell.method, corpus)
      ends[cell] = dataclasses.asdict(trainer.train(cell))
      grid.write(file, ends)
      print(json.dumps(cell._asdict() | ends[cell]), flush=True)
  if file == page.FILE:
    page.write()
  return 0


def cells(given: argparse.Namespace) -> Iterator[Cell]:
  """The cells that are asked for, one method after the other. Raises InputError."""
  if given.steps < SHORTEST:
    raise InputError(f"--steps is {given.steps}; make it {SHORTEST} or more")
  for rate in given.rates or []:
    if not 0 < rate < math.inf:
      raise InputError(f"--rates has {rate:g}; make it a positive number")
  for method in given.methods:
    for seed in given.seeds:
      for warm_up in given.warm_ups:
        for rate in given.rates or grid.RATES[method]:
          yield Cell(method, warm_up, rate, seed, given.steps)
