"""Times the optimizer's step with every clip: python -m scripts.bench_optimizers [--quick]

The variables are those of Large beside its embeddings (FFN 4096 × 4, six heads), float32. Prints

  1. each rule's time for one update as a ratio to plain tf_keras and to TFRS ClippyAdagrad;
  2. the bytes an update must move, and its share of the memory bandwidth measured beside it;
  3. what a rule adds to a whole training step, as a ratio to the step without a clip;
  4. a step of 202 small variables, where it is operations that cost, and not numbers;
  5. a step that touches 256 rows of a table, by Adam and lazy Adam.

All contestants run in turn within one process, and every round starts with another one. A ratio is
taken within a round; its median and the middle half of its values (IQR) are printed. The ratios are
the result; milliseconds and GB/s are orientation, as they depend on the machine. Goals are printed
beside the figures and never fail the command. The whole takes some 6 GB of memory and a few
minutes; --quick takes fewer rounds and leaves out the direct timing of whole steps.
"""

import dataclasses
import gc
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from ranking import quiet

with quiet.native_stderr():
  import tensorflow as tf
  import tensorflow_recommenders as tfrs
  import tf_keras

from ranking import optimizers
from ranking.data.schema import Feature, Schema
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.optimizers.operator_norm import OperatorNorm
from ranking.tasks import LabelStatistics, Task
from ranking.training.console import Console
from scripts import bench_small
from scripts.rounds import Seconds, interleaved, ratios

_QUICK = flags.DEFINE_bool("quick", False, "5 rounds, 2 repeats, no direct timing of whole steps.")
_ROUNDS = flags.DEFINE_integer("rounds", 21, "Rounds of updates.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds of whole steps.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 4096, "Rows of a whole training step.", lower_bound=1)
_WIDTH_SCALE = flags.DEFINE_float(
  "width_scale", 1.0, "Times all widths; 1 is Large.", lower_bound=0
)

INPUT_WIDTH, HIDDEN_UNITS, HEADS = 1650, (4096,) * 4, 6
LEARNING_RATE = 1e-3  # low, so that weights stay ordinary numbers however many rounds there are
KERAS_ADAGRAD, KERAS_ADAM, TFRS_CLIPPY = "tf_keras Adagrad", "tf_keras Adam", "TFRS Clippy"
IN_PLACE_ADD = "in-place add"
TIMES_AS_FAST_AS_TFRS = 2.5
MOST_OF_SMALL = 1.3  # of tf_keras, for the first batch and a step
LONGEST_WHOLE_STEP = 1.01  # of the step without a clip
DIRECT = ("naive", "clippy", "lamb")  # whole steps of these are timed as they are


@dataclasses.dataclass(frozen=True)
class Rule:
  """One way to update, and what it must read and write of weights w, gradients g and its slots.

  Attributes:
    make: makes the optimizer.
    baseline: the plain tf_keras optimizer with the same slots.
    slots: a letter each, G or m and v.
    measure: what must be read before σ is known.
    guard: what must be read to know that the step is finite.
    goal: the ratio to `baseline` that is to be kept.
  """

  make: Callable[[], Any]
  baseline: str = KERAS_ADAGRAD
  slots: str = "G"
  measure: str = ""
  guard: str = "g"
  goal: float | None = None

  def passes(self) -> int:
    """How many times the parameters' size goes over the memory bus."""
    write = len("wg" + self.slots) + len("w" + self.slots)
    return len(self.guard) + len(self.measure) + write

  def counted(self) -> str:
    """The passes in letters: reads of guard | of measure | reads → writes."""
    return f"{self.guard or '–'} | {self.measure or '–'} | wg{self.slots} → w{self.slots}"


def on_adagrad(clip: optimizers.clipping.Clip) -> Callable[[], Any]:
  """Makes Adagrad with a clip."""
  return lambda: optimizers.ClippedOptimizer(optimizers.Adagrad(), clip, LEARNING_RATE)


RULES = {
  KERAS_ADAGRAD: Rule(lambda: tf_keras.optimizers.Adagrad(LEARNING_RATE), guard=""),
  TFRS_CLIPPY: Rule(
    lambda: tfrs.experimental.optimizers.ClippyAdagrad(
      LEARNING_RATE,
      variable_relative_threshold=0.5,
      absolute_threshold=1e-2,
      use_standard_accumulator_update=True,
    ),
    measure="wgG",
    guard="",
  ),
  "naive": Rule(on_adagrad(optimizers.NoClip())),
  "gc": Rule(on_adagrad(optimizers.GradientClipping()), measure="g", goal=1.0),
  "agc": Rule(on_adagrad(optimizers.AdaptiveGradientClipping()), measure="wg", goal=1.2),
  "agc layer": Rule(
    on_adagrad(optimizers.AdaptiveGradientClipping(unit="layer")), measure="wg", goal=1.2
  ),
  "lamb": Rule(on_adagrad(optimizers.Lamb()), measure="wgG", goal=1.0),
  "clippy": Rule(on_adagrad(optimizers.Clippy()), measure="wgG", goal=1.0),
  "layer_clippy": Rule(on_adagrad(optimizers.LayerClippy()), measure="wgG"),
  "operator_norm": Rule(on_adagrad(OperatorNorm()), measure="wgG"),
  "rms_clip": Rule(on_adagrad(optimizers.RmsClip()), measure="gG"),
  "ada_gc": Rule(on_adagrad(optimizers.AdaGC()), measure="g"),
  "z_clip": Rule(on_adagrad(optimizers.ZClip()), measure="g"),
  KERAS_ADAM: Rule(
    lambda: tf_keras.optimizers.Adam(LEARNING_RATE), baseline=KERAS_ADAM, slots="mv", guard=""
  ),
  "clippy on Adam": Rule(
    lambda: optimizers.ClippedOptimizer(optimizers.Adam(), optimizers.Clippy(), LEARNING_RATE),
    baseline=KERAS_ADAM,
    slots="mv",
    measure="wgmv",
  ),
}
OURS_ON_ADAGRAD = [
  name
  for name, rule in RULES.items()
  if rule.baseline == KERAS_ADAGRAD and name not in (KERAS_ADAGRAD, TFRS_CLIPPY)
]


def shapes(width_scale: float = 1.0) -> list[tuple[int, ...]]:
  """Kernel and bias of each shared layer and each head of Large."""
  hidden = [round(width * width_scale) for width in HIDDEN_UNITS]
  inputs = [round(INPUT_WIDTH * width_scale), *hidden[:-1]]
  made: list[tuple[int, ...]] = []
  for width, units in zip(inputs, hidden, strict=True):
    made += [(width, units), (units,)]
  for _ in range(HEADS):
    made += [(hidden[-1], 1), (1,)]
  return made


def time_updates(width_scale: float, rounds: int) -> Seconds:
  """Times graph steps with fixed gradients, all on the same weights, and an in-place add.

  Raises RuntimeError if a step was skipped as not finite: it would look fast.
  """
  random = np.random.default_rng(0)
  weights = [_normal(random, shape, 0.02) for shape in shapes(width_scale)]
  variables = [tf.Variable(value) for value in weights]
  gradients = [_normal(random, shape, 0.01) for shape in shapes(width_scale)]
  made = {name: rule.make() for name, rule in RULES.items()}
  for optimizer in made.values():
    optimizer.build(variables)
  contestants = {name: _update(optimizer, gradients, variables) for name, optimizer in made.items()}
  contestants[IN_PLACE_ADD] = _in_place_add(gradients, variables)
  seconds = interleaved(contestants, rounds)
  _check_none_skipped(made)
  return seconds


def time_forward_and_backward(model: Network, batch: Any, repeats: int) -> list[float]:
  """Seconds of a loss and its gradients, without an update."""

  forward_and_backward = _traced(lambda: _loss_and_gradients(model, batch))
  return interleaved({"fb": lambda: forward_and_backward()[0].numpy()}, repeats)["fb"]


def time_whole_steps(model: Network, batch: Any, repeats: int) -> Seconds:
  """Times loss, gradients and update in one graph. Raises RuntimeError as `time_updates` does."""
  made = {name: RULES[name].make() for name in DIRECT}
  for optimizer in made.values():
    optimizer.build(model.trainable_variables)

  def step(optimizer: Any) -> Callable[[], object]:
    def whole() -> tf.Tensor:
      loss, gradients = _loss_and_gradients(model, batch)
      pairs = zip(gradients, model.trainable_variables, strict=True)
      return tf.identity(optimizer.apply_gradients(pairs, loss=loss))

    graph = _traced(whole)
    return lambda: graph().numpy()

  seconds = interleaved({name: step(optimizer) for name, optimizer in made.items()}, repeats)
  _check_none_skipped(made)
  return seconds


def large(width_scale: float, rows: int) -> tuple[Network, dict[str, tf.Tensor]]:
  """The real model for a made-up schema, and a random batch."""
  tasks = tuple(Task(f"task_{k}", "binary") for k in range(HEADS))
  schema = Schema(
    dataset="made up",
    features=(
      *(Feature(f"id_{k}", "categorical", 1000) for k in range(8)),
      Feature("bag", "bag", 100, 3),
      *(Feature(f"dense_{k}", "dense") for k in range(6)),
    ),
    tasks=tasks,
    day_names=("1", "2"),
    label_statistics=(LabelStatistics(1000, 0.25, 0.1875),) * len(tasks),
  )
  random = np.random.default_rng(0)
  batch = {
    "ids": tf.constant(random.integers(0, 1000, (rows, 8)), tf.int32),
    "bags": tf.constant(random.integers(0, 100, (rows, 3)), tf.int32),
    "dense": _normal(random, (rows, 6), 1.0),
    "labels": tf.constant(random.random((rows, HEADS)) < 0.25, tf.float32),
    "weights": tf.fill([rows, HEADS], 1.0 / rows),
  }
  body = SharedBottom([DenseLayers(HIDDEN_UNITS)])
  model = Model(body, Inputs(INPUT_WIDTH), width_scale=width_scale).build(schema)
  return model, batch


def update_rows(seconds: Seconds) -> list[list[str]]:
  """Table 1: rule, milliseconds, ratio and IQR to tf_keras and to TFRS Clippy, goal."""
  rows = []
  for name, rule in RULES.items():
    own = ratios(seconds, name, rule.baseline)
    row = [name, _milliseconds(seconds[name]), _ratio(own), _middle_half(own)]
    if rule.baseline == KERAS_ADAGRAD:
      to_tfrs = ratios(seconds, name, TFRS_CLIPPY)
      row += [_ratio(to_tfrs), _middle_half(to_tfrs)]
    else:
      row += ["–", "–"]
    rows.append([*row, "" if rule.goal is None else _at_most(statistics.median(own), rule.goal)])
  return rows


def byte_rows(seconds: Seconds, parameters: int) -> list[list[str]]:
  """Table 2: rule, its passes, GB a step, GB/s, share of the bandwidth of the in-place add."""
  size = 4 * parameters / 1e9
  counted = {name: (rule.passes(), rule.counted()) for name, rule in RULES.items()}
  counted[IN_PLACE_ADD] = (3, "wg → w")
  rows = []
  for name, (passes, letters) in counted.items():
    speed = [passes * size / s for s in seconds[name]]
    most = [3 * size / s for s in seconds[IN_PLACE_ADD]]
    share = [own / best for own, best in zip(speed, most, strict=True)]
    figures = [f"{passes:2}", f"{passes * size:.3f}", f"{statistics.median(speed):6.2f}"]
    rows.append([name, letters, *figures, _ratio(share)])
  return rows


def step_rows(updates: Seconds, fb: Sequence[float], whole: Seconds) -> list[list[str]]:
  """Table 3: rule, its part of the step, ratio to naive from medians, goal, and timed directly."""
  middle = statistics.median(fb)
  naive = statistics.median(updates["naive"])
  rows = []
  for name in OURS_ON_ADAGRAD:
    own = statistics.median(updates[name])
    ratio = (middle + own) / (middle + naive)
    row = [name, _milliseconds(updates[name]), f"{100 * own / (middle + own):5.2f} %"]
    row += [f"{ratio:.4f}", _at_most(ratio, LONGEST_WHOLE_STEP)]
    if name in whole:
      direct = ratios(whole, name, "naive")
      spread = f"{min(direct):.3f} … {max(direct):.3f}"
      row += [f"{statistics.median(whole[name]):.2f}", f"{statistics.median(direct):.3f}", spread]
    else:
      row += ["", "", ""]
    rows.append(row)
  return rows


def main(argv: list[str]) -> int:
  """Measures and prints; returns the exit code."""
  if argv[1:]:
    print(f"error: {argv[1]!r} is no flag; see --help", file=sys.stderr)
    return 2
  rounds, repeats = (5, 2) if _QUICK.value else (_ROUNDS.value, _REPEATS.value)
  scale = _WIDTH_SCALE.value
  parameters = sum(int(np.prod(shape)) for shape in shapes(scale))
  console = Console()
  console.say(
    f"{parameters / 1e6:.1f} M parameters ({parameters:,}) in {len(shapes(scale))} variables, "
    f"float32; {rounds} rounds of updates"
  )

  updates = time_updates(scale, rounds)
  console.table(
    "1. An update. ÷ tf_keras: of the same direction (Adagrad, Adam). ÷ TFRS: its ClippyAdagrad. "
    "IQR: of the rounds' ratios.",
    ("rule", "ms", "÷ tf_keras", "IQR", "÷ TFRS", "IQR", "goal ÷ tf_keras"),
    update_rows(updates),
  )
  faster = statistics.median(ratios(updates, TFRS_CLIPPY, "clippy"))
  verdict = "ok" if faster >= TIMES_AS_FAST_AS_TFRS else "missed"
  console.say(
    f"clippy is {faster:.2f} times as fast as TFRS Clippy; "
    f"goal ≥ {TIMES_AS_FAST_AS_TFRS:.1f}: {verdict}\n"
  )
  console.table(
    "2. Memory. Passes: guard's reads | measure's reads | write's reads → writes, each of a whole "
    "array, temporaries not counted.",
    ("rule", "passes over w, g and slots", "passes", "GB a step", "GB/s", "share of add"),
    byte_rows(updates, parameters),
  )
  console.say(
    "share of add: GB/s beside an in-place add w ← w + g over the same arrays (3 passes). A read "
    "can cost\nless than a write, so more than 1 is possible for a rule that reads more.\n"
  )

  gc.collect()  # the slots of all rules
  console.table(
    f"4. {2 * bench_small.KERNELS} small variables, ms. ÷: to tf_keras. Goal for the first batch "
    f"and a step ≤ {MOST_OF_SMALL}, but for clips with a memory.",
    ("rule", "first batch", "÷", "step", "÷", "eager step", "÷"),
    bench_small.small_variables(10 * rounds),
  )
  console.table(
    "5. 256 rows of a table of so many, ms. A lazy step does not depend on the table.",
    ("rule", *(f"{rows:,}" for rows in bench_small.TABLES)),
    bench_small.rows_of_a_table(rounds),
  )
  model, batch = large(scale, _BATCH.value)
  fb = time_forward_and_backward(model, batch, repeats)
  whole = {} if _QUICK.value else time_whole_steps(model, batch, repeats)
  console.table(
    f"3. A whole step of Large at batch {_BATCH.value:,}: forward and backward fb take "
    f"{statistics.median(fb):.3f} s ({min(fb):.3f} … {max(fb):.3f}).",
    (
      *("rule", "update ms", "of a step", "of medians", "goal"),
      *("direct s", "direct ÷ naive", "min … max"),
    ),
    step_rows(updates, fb, whole),
  )
  console.say(
    "of medians: (fb + rule) / (fb + naive), updates from table 1; the update of embeddings, which "
    "no clip\nchanges, is only in the direct steps. direct: whole steps in turn, "
    + (f"{repeats} rounds; their spread is mostly that of fb." if whole else "not with --quick.")
  )
  return 0


def _normal(random: np.random.Generator, shape: tuple[int, ...], scale: float) -> tf.Tensor:
  return tf.constant(scale * random.standard_normal(shape, np.float32))


def _traced(function: Callable[[], Any], **options: Any) -> Callable[[], Any]:
  """The function's one graph. Called as tf.function, so many alike would look like retracing."""
  return tf.function(function, **options).get_concrete_function()


def _update(
  optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any]
) -> Callable[[], object]:
  pairs = list(zip(gradients, variables, strict=True))
  graph = _traced(lambda: tf.identity(optimizer.apply_gradients(pairs)))
  return lambda: graph().numpy()


def _in_place_add(gradients: Sequence[Any], variables: Sequence[Any]) -> Callable[[], object]:
  def add() -> tf.Tensor:
    for gradient, variable in zip(gradients, variables, strict=True):
      variable.assign_add(1e-9 * gradient)  # so little that the weights stay as they are
    return tf.zeros([])

  graph = _traced(add, jit_compile=True)
  return lambda: graph().numpy()


def _loss_and_gradients(model: Network, batch: Any) -> tuple[tf.Tensor, list[Any]]:
  with tf.GradientTape() as tape:
    loss = model.compute_loss(batch, training=True)
  return loss, tape.gradient(loss, model.trainable_variables)


def _check_none_skipped(made: Mapping[str, Any]) -> None:
  for name, optimizer in made.items():
    skipped = int(getattr(optimizer, "skipped_steps", 0))
    if skipped:
      raise RuntimeError(f"{name}: {skipped} steps were not finite, so their times mean nothing")


def _milliseconds(seconds: Sequence[float]) -> str:
  return f"{1e3 * statistics.median(seconds):8.2f}"


def _ratio(values: Sequence[float]) -> str:
  return f"{statistics.median(values):.2f}"


def _middle_half(values: Sequence[float]) -> str:
  low, high = np.percentile(values, [25, 75])
  return f"{low:.2f} … {high:.2f}"


def _at_most(value: float, goal: float) -> str:
  return f"≤ {goal:.2f} {'ok' if value <= goal else 'missed'}"


if __name__ == "__main__":
  app.run(main)
