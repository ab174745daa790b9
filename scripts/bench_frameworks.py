"""Times steps of Large by the trainer, with and without Clippy, and by PyTorch, beside products.

    .venv-stacks/bin/python -m scripts.bench_frameworks
    .venv/bin/python -m scripts.bench_frameworks --batch=512

The first needs PyTorch and a C++ compiler beside TensorFlow, as `make test-stacks` sets them up;
the second leaves PyTorch out. The trainer's steps are those of large_clippy.gin and large_naive.gin
with HARDWARE=bfloat16 and without, from the compiled training step with its guard and its health
vector. PyTorch has the same model, written plainly, from the same weights: eager, torch.compile,
and both under autocast, with its fused Adagrad. That it is the same is seen by the losses of the
first two steps, or the command stops.

All are in one process with the same number of threads, and take turns; every round starts with
another one. What counts are ratios, taken within a round: the arithmetic of a step, 6 × parameters
beside embeddings × rows, to that of a product of 4096³ by the same library in the same precision;
and the trainer's steps a second to PyTorch's. The table has the medians over the rounds.

At the default batch it takes about five minutes on 2 idle cores and 8 GB of memory. A round is one
step of each, 40 s or so; the compilers and the first steps take as long as two. Other work on the
machine spoils it.
"""

import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from absl import app, flags

from ranking import configuration, quiet

with quiet.native_stderr():
  import tensorflow as tf
  import tf_keras

from ranking.data.schema import Schema
from ranking.models.network import Network
from ranking.training.console import Console
from ranking.training.step import compile_steps
from scripts import bench_many_features

_BATCH = flags.DEFINE_integer("batch", 4096, "Rows of a step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads of each.", lower_bound=1)
_WIDTH_SCALE = flags.DEFINE_float("width_scale", 1.0, "Times all widths; 1 is Large.")

SIZE = 4096  # of the product
FEATURES = 30
RATE = 0.01
PRECISIONS = ("float32", "bfloat16")
SAME_LOSS = 1e-3  # relative: sums of float32 in another order
# The least share of the product's arithmetic that is to be kept.
GOALS = {"float32": 0.95, "bfloat16": 0.9}
OURS, PLAIN = "trainer, Clippy", "trainer, Adagrad"
METHODS = {OURS: "large_clippy.gin", PLAIN: "large_naive.gin"}
PRODUCTS = {"trainer": "TensorFlow, product", "PyTorch": "PyTorch, product"}
EAGER, COMPILED = "PyTorch, eager", "PyTorch, compile"

Contestant = tuple[str, str]  # its name and precision
Call = Callable[[], float]  # takes a step and gives its loss, or makes a product


def main(argv: Sequence[str]) -> int:
  """Measures and prints; returns the exit code."""
  if argv[1:]:
    print(f"error: {argv[1]!r} is no flag; see --help", file=sys.stderr)
    return 2
  tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
  tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)
  schema, batch = bench_many_features.log(FEATURES, _BATCH.value)
  console, calls = Console(), {}
  for precision in PRECISIONS:
    calls[PRODUCTS["trainer"], precision] = _product(precision)
  for name, config in METHODS.items():
    for precision in PRECISIONS:
      calls[name, precision], network = _step(config, precision, schema, batch)
  parameters = network.parameter_counts()["non_embedding"]
  if find_spec("torch") is None:
    console.say("PyTorch is not installed here, and left out")
  else:
    calls |= _of_torch(network, batch)

  console.say(
    f"Large, {parameters / 1e6:.1f} M parameters beside embeddings, {_BATCH.value:,} rows, "
    f"{_THREADS.value} threads each, {_ROUNDS.value} rounds"
  )
  first = {who: (call(), call()) for who, call in calls.items()}  # TensorFlow compiles in both
  _check_same(first)
  seconds = _in_turns(calls, _ROUNDS.value)
  flops = 6.0 * parameters * _BATCH.value
  console.table(
    "Medians. Share: arithmetic of a step beside its library's product in that precision. "
    "÷: how many times as fast as PyTorch in that precision, and as the same in float32.",
    ("", "precision", "s", "GFLOP/s", "share", "÷ eager", "÷ compile", "÷ its float32"),
    [_row(who, seconds, flops) for who in seconds],
  )
  for precision in PRECISIONS:
    share = _share((OURS, precision), seconds, flops)
    goal = GOALS[precision]
    verdict = "ok" if share >= goal else "missed"
    console.say(f"{OURS}, {precision}: {share:.2f} of the product; goal ≥ {goal:.2f}: {verdict}")
  return 0


def _product(precision: str) -> Call:
  """Of two matrices, by TensorFlow."""
  a, b = (tf.cast(tf.random.normal([SIZE, SIZE]), precision) for _ in range(2))
  product = tf.function(lambda: tf.cast(tf.matmul(a, b)[0, 0], tf.float32))
  return lambda: float(product().numpy())


def _step(
  config: str, precision: str, schema: Schema, batch: dict[str, tf.Tensor]
) -> tuple[Call, Network]:
  """A step as `ranking train` takes it, and its network."""
  training = configuration.read(
    config=config,
    hardware="bfloat16" if precision == "bfloat16" else None,
    bindings=[
      f"Model.width_scale={_WIDTH_SCALE.value}",
      f"train_and_evaluate.learning_rate={RATE}",
      "train_and_evaluate.schedule=None",
    ],
  ).training
  tf_keras.utils.set_random_seed(training.seed)
  network = training.model.build(schema)
  optimizer = training.optimizer.build(training.rate())
  optimizer.build(network.trainable_variables)
  take = compile_steps(network, optimizer, tf.distribute.get_strategy(), {})
  data = iter(tf.data.Dataset.from_tensors(batch).repeat())
  return lambda: float(take(data, tf.constant(1), False).measured[0, 0].numpy()), network


def _of_torch(network: Network, batch: dict[str, tf.Tensor]) -> dict[Contestant, Call]:
  """The same model, with the weights that the network has now, in PyTorch; and its products."""
  import torch
  import torch._inductor.config

  torch.set_num_threads(_THREADS.value)
  torch._inductor.config.compile_threads = 1  # compiles here, not in processes that stay

  def tensor(value: Any) -> Any:
    return torch.tensor(value.numpy())

  variables = {network.short_name(each): tensor(each) for each in network.trainable_variables}

  def linear(name: str) -> Any:
    weight, bias = variables[f"{name}/kernel"].T.contiguous(), variables[f"{name}/bias"]
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return layer

  class Large(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.tables = torch.nn.ModuleList(
        torch.nn.Embedding.from_pretrained(
          variables[f"embedding_{feature.name}/embeddings"], freeze=False
        )
        for feature in network.schema.features
      )
      hidden = [(linear(f"hidden_{k}"), torch.nn.ReLU()) for k in range(1, 5)]
      self.bottom = torch.nn.Sequential(*itertools.chain(*hidden))
      self.towers = torch.nn.ModuleList(
        linear(f"{task.name}_logit") for task in network.schema.tasks
      )

    def forward(self, ids: Any) -> Any:
      x = torch.cat([table(ids[:, k]) for k, table in enumerate(self.tables)], dim=1)
      x = self.bottom(x)
      return torch.cat([tower(x) for tower in self.towers], dim=1)

  model = Large()
  optimizer = torch.optim.Adagrad(
    model.parameters(), RATE, initial_accumulator_value=0.1, fused=True
  )
  ids, labels = tensor(batch["ids"]).long(), tensor(batch["labels"])

  def loss_of() -> Any:
    logits = model(ids).float()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return each.mean(0).sum()

  def step(loss_of: Callable[[], Any], precision: str) -> Call:
    def take() -> float:
      optimizer.zero_grad()
      with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss = loss_of()
      loss.backward()
      optimizer.step()
      return float(loss.detach())

    return take

  def product(precision: str) -> Call:
    a, b = (torch.randn(SIZE, SIZE).to(getattr(torch, precision)) for _ in range(2))
    return lambda: float((a @ b)[0, 0])

  compiled = torch.compile(loss_of)
  return {
    (name, precision): make(precision)
    for name, make in (
      (PRODUCTS["PyTorch"], product),
      (EAGER, lambda precision: step(loss_of, precision)),
      (COMPILED, lambda precision: step(compiled, precision)),
    )
    for precision in PRECISIONS
  }


def _check_same(first: dict[Contestant, tuple[float, float]]) -> None:
  """Raises RuntimeError unless PyTorch and the trainer had the same losses in two steps."""
  ours, theirs = first[PLAIN, "float32"], first.get((EAGER, "float32"))
  for step, (own, other) in enumerate(zip(ours, theirs or ours, strict=True), 1):
    if not abs(own - other) <= SAME_LOSS * abs(own):
      raise RuntimeError(f"loss of step {step}: {own} here, {other} by PyTorch: not one model")


def _in_turns(calls: dict[Contestant, Call], rounds: int) -> dict[Contestant, list[float]]:
  """Seconds of each, by round."""
  seconds: dict[Contestant, list[float]] = {who: [] for who in calls}
  order = list(calls)
  for number in range(rounds):
    start = number * len(order) // rounds
    for who in order[start:] + order[:start]:
      started = time.perf_counter()
      calls[who]()
      seconds[who].append(time.perf_counter() - started)
  return seconds


def _row(who: Contestant, seconds: dict[Contestant, list[float]], flops: float) -> list[str]:
  """Of the table."""
  name, precision = who
  own = statistics.median(seconds[who])
  is_product = name in PRODUCTS.values()
  operations = 2 * SIZE**3 if is_product else flops
  row = [name, precision, f"{own:.3f}", f"{operations / own / 1e9:.1f}"]
  row.append("" if is_product else f"{_share(who, seconds, flops):.3f}")
  for other in (EAGER, COMPILED):
    beside = (PRODUCTS["PyTorch"], precision) if is_product else (other, precision)
    row.append(f"{_times(beside, who, seconds):.2f}" if beside in seconds else "")
  return [*row, f"{_times((name, 'float32'), who, seconds):.2f}"]


def _share(who: Contestant, seconds: dict[Contestant, list[float]], flops: float) -> float:
  """Of the arithmetic of its library's product."""
  product = PRODUCTS[who[0].split(",")[0]], who[1]
  return flops / (2 * SIZE**3) * _times(product, who, seconds)


def _times(one: Contestant, other: Contestant, seconds: dict[Contestant, list[float]]) -> float:
  """The seconds of one to those of another."""
  return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


if __name__ == "__main__":
  app.run(main)
