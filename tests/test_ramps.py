"""Thresholds that follow the steps."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ranking.optimizers import (
  AdaGC,
  Adagrad,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  Ramp,
  RmsClip,
  Sgd,
  ZClip,
  fused,
  observe,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.operator_norm import OperatorNorm
from ranking.optimizers.spam import Spam

RANDOM = np.random.default_rng(0)
KINDS: list[type[Clip]] = [
  *(GradientClipping, AdaptiveGradientClipping, Lamb, Clippy, LayerClippy, RmsClip),
  *(OperatorNorm, AdaGC, ZClip),
]
RAMP: Any = Ramp(0.1, 0.2, 3)
THRESHOLDS = {
  Lamb: "multiplier",
  Clippy: "absolute_threshold",
  LayerClippy: "layer_threshold",
  AdaGC: "absolute_threshold",
}


def test_a_ramp_is_a_line_and_then_level() -> None:
  ramp = Ramp(0.5, 0.1, steps=4)
  np.testing.assert_allclose(
    [ramp(t) for t in (1, 2, 3, 5, 6, 1000)], [0.5, 0.4, 0.3, 0.1, 0.1, 0.1]
  )


# Alone, stacked, and with one factor for all.
@pytest.mark.parametrize(
  ("kind", "scope", "count"),
  list(zip(KINDS, cycle(["layer", "layer", "global"]), cycle([1, 8, 2]), strict=False)),
)
def test_in_each_step_a_clip_has_the_threshold_of_that_step(
  kind: Any, scope: Any, count: int
) -> None:
  name = THRESHOLDS.get(kind, "threshold")
  more: dict[str, Any] = {}
  if kind is AdaptiveGradientClipping:
    more = {"unit": "layer"}
  if kind is ZClip:
    more = {"warmup_steps": 1}
  ramp = Ramp(1e-3, 0.2, steps=2)
  optimizer = ClippedOptimizer(Sgd(), kind(**{name: ramp}, **more), 0.5, scope=scope)
  weights = [tf.Variable(RANDOM.normal(size=(3, 2)), name=f"w_{k}") for k in range(count)]
  for number in (1, 2, 3):
    gradients = [tf.constant(RANDOM.normal(size=(3, 2))) for _ in weights]
    step = ClippedOptimizer(Sgd(), kind(**{name: ramp(number)}, **more), 0.5, scope=scope)
    twins = [tf.Variable(w.numpy(), name=w.name[:-2]) for w in weights]
    step.build(twins)
    for variable, twin in zip(weights, twins, strict=True):
      for memory, value in (optimizer.state_of(variable) if number > 1 else {}).items():
        step.state_of(twin)[memory].assign(value)
    step.iterations.assign(number - 1)
    (seen, *_) = observe(step, list(zip(gradients, twins, strict=True)), {})
    optimizer.apply_gradients(zip(gradients, weights, strict=True))
    step.apply_gradients(zip(gradients, twins, strict=True))
    for variable, twin in zip(weights, twins, strict=True):
      np.testing.assert_allclose(variable, twin, rtol=1e-12)
    np.testing.assert_allclose(seen.factor, optimizer.clipping_factors()[0], rtol=1e-12)


def test_a_large_variable_follows_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(fused, "FUSED_FROM", 4)
  thresholds: list[Any] = [0.0, Ramp(1.0, 0.25, 3), Ramp(0.0, 0.0, 1)]
  clip = Clippy(*thresholds)
  optimizer, variable = ClippedOptimizer(Adagrad(0.0), clip, 1.0), tf.Variable(tf.zeros([2, 2]))
  moves: list[float] = []
  for _ in range(4):
    before = variable.numpy()
    optimizer.state_of(variable)["accumulator"].assign(tf.zeros([2, 2])) if moves else None
    optimizer.apply_gradients([(tf.ones([2, 2]), variable)])
    moves.append((before - variable.numpy())[0, 0])
  np.testing.assert_allclose(moves, [1.0, 0.75, 0.5, 0.25], rtol=1e-5)


def test_a_ramp_is_saved_with_the_configuration() -> None:
  optimizer = ClippedOptimizer(Sgd(), Clippy(0.5, Ramp(1.0, 0.1, 10)))  # type: ignore[arg-type]
  again = ClippedOptimizer.from_config(optimizer.get_config())
  assert again.clip == optimizer.clip


@pytest.mark.parametrize(
  ("make", "text"),
  [
    (lambda: Ramp(-1.0, 1.0, 3), "Ramp.first is -1.0; make it a number that is not negative"),
    (lambda: Ramp(1.0, 1.0, 0), "Ramp.steps is 0; make it a whole number, 1 or more"),
    (lambda: AdaGC(decay=RAMP), r"AdaGC.decay is Ramp\(.*make it a number"),
    (lambda: Spam(spike_threshold=RAMP), r"Spam.spike_threshold is Ramp\("),
  ],
)
def test_what_can_be_no_ramp_is_refused(make: Any, text: str) -> None:
  with pytest.raises(ValueError, match=text):
    make()
