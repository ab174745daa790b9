"""The PyTorch twin: step for step that of TensorFlow, and at home in PyTorch."""

import copy
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking.array import Array
from tests import stacks

torch = pytest.importorskip("torch")
twin = pytest.importorskip("ranking.optimizers.torch")


def twin_of(part: Any) -> Any:
  name, arguments = stacks.settings(part)
  ramps = {k: twin_of(v) for k, v in arguments.items() if dataclasses.is_dataclass(v)}
  return getattr(twin, name)(**{**arguments, **ramps})


def laid_out(weight: stacks.Weight, value: Array) -> Array:
  """A kernel the other way round, as PyTorch has it, and back."""
  return value.T if weight.kind == "kernel" else value


def torch_steps(case: stacks.Case) -> list[list[Array]]:
  """As `stacks.tensorflow_steps`."""
  weights = stacks.problem(case.direction)
  parameters = [torch.nn.Parameter(torch.tensor(laid_out(w, w.start))) for w in weights]
  optimizer = twin.ClippedOptimizer(
    parameters,
    twin_of(case.direction),
    twin_of(case.clip),
    lr=stacks.RATE,
    accumulate=case.accumulate,
    scope=case.scope,
  )
  after = []
  for k in range(stacks.STEPS):
    for parameter, weight in zip(parameters, weights, strict=True):
      gradient = torch.tensor(laid_out(weight, weight.gradients[k]))
      if weight.kind == "table":
        rows, shape = torch.tensor(weight.rows[k][None]), weight.start.shape
        gradient = torch.sparse_coo_tensor(rows, gradient, shape, check_invariants=True)
      parameter.grad = gradient
    optimizer.step()
    values = [parameter.detach().numpy().copy() for parameter in parameters]
    after.append([laid_out(weight, value) for weight, value in zip(weights, values, strict=True)])
  return [*after, [np.asarray(optimizer.clipping_factors()[p]) for p in parameters]]


@pytest.mark.parametrize("case", stacks.CASES, ids=str)
def test_fifty_steps_are_those_of_tensorflow(case: stacks.Case) -> None:
  ours, theirs = torch_steps(case), stacks.tensorflow_steps(case)
  for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
    for a, b in zip(own, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"step {step}")


def model(sparse: bool = False) -> Any:
  torch.manual_seed(0)
  table = torch.nn.Embedding(20, 4, sparse=sparse)
  return torch.nn.Sequential(
    table, torch.nn.Flatten(), torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
  )


def loss_of(network: Any, step: int) -> Any:
  random = np.random.default_rng(step)
  ids = torch.tensor(random.integers(0, 20, (32, 2)))
  target = torch.tensor(random.normal(size=32), dtype=torch.float32)
  return torch.nn.functional.mse_loss(network(ids)[:, 0].float(), 3 * target + ids[:, 0] / 10)


def train(network: Any, optimizer: Any, steps: Any) -> list[float]:
  losses = []
  for step in steps:
    optimizer.zero_grad()
    loss = loss_of(network, step)
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
  return losses


def weights_of(network: Any) -> list[Array]:
  return [parameter.detach().float().numpy().copy() for parameter in network.parameters()]


def everything_of(network: Any, optimizer: Any) -> list[Any]:
  """Weights, slots and clip memory."""
  kept = [
    value.clone().numpy() if torch.is_tensor(value) else value
    for state in optimizer.state.values()
    for value in state.values()
  ]
  return [*weights_of(network), *kept]


def same(one: list[Any], other: list[Any]) -> bool:
  pairs = zip(one, other, strict=True)
  return all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs)


@pytest.mark.parametrize(("sparse", "half"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
  ("direction", "clip"),
  [
    ("Adagrad", "Clippy"),
    ("Adam", "AdaGC"),
    ("Sgd", "ZClip"),
    ("Adam", "AdaptiveGradientClipping"),
    ("RowWiseAdagrad", "GradientClipping"),
  ],
)
def test_a_saved_optimizer_goes_on_bit_for_bit(
  direction: str, clip: str, sparse: bool, half: bool, tmp_path: Any
) -> None:
  def make() -> tuple[Any, Any]:
    network = model(sparse).to(torch.bfloat16 if half else torch.float32)
    settings: dict[str, dict[str, Any]] = {
      "ZClip": {"warmup_steps": 2},
      "AdaGC": {"warmup_steps": 2},
      "GradientClipping": {"threshold": twin.Ramp(1.0, 0.01, 8)},
    }
    made = getattr(twin, clip)(**settings.get(clip, {}))
    optimizer = twin.ClippedOptimizer(
      twin.tables_apart(network), getattr(twin, direction)(), made, lr=0.01
    )
    return network, optimizer

  network, optimizer = make()
  train(network, optimizer, range(5))
  torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x")
  train(network, optimizer, range(5, 10))

  again, resumed = make()
  saved = torch.load(tmp_path / "x")  # which knows no class of ours
  again.load_state_dict(saved["model"])
  resumed.load_state_dict(saved["optimizer"])
  train(again, resumed, range(5, 10))
  assert same(everything_of(network, optimizer), everything_of(again, resumed))
  assert resumed.param_groups[0]["steps"] == 10


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda state: state["param_groups"][0].update(clip={"Snip": {}}), "no clip 'Snip' is known"),
    (lambda state: state["param_groups"][0].update(clip={"Clippy": {"x": 1}}), "Clippy has no x"),
    (lambda state: state["param_groups"][0].pop("clip"), "the state has no clip, so it is not one"),
    (lambda state: state.clear(), "the state has no direction, so it is not one of a Clipped"),
    (
      lambda state: state["state"][0].update(accumulator=torch.ones(3)),
      r"the state's accumulator \(3,\) is not one of a parameter \(20, 4\); give the optimizer",
    ),
  ],
)
def test_a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing(
  spoil: Any, message: str
) -> None:
  network = model()
  optimizer = twin.ClippedOptimizer(network.parameters(), twin.Adagrad(), twin.Clippy())
  train(network, optimizer, range(1))
  before = everything_of(network, optimizer)
  state = copy.deepcopy(optimizer.state_dict())
  spoil(state)
  with pytest.raises(ValueError, match=message):
    optimizer.load_state_dict(state)
  assert same(everything_of(network, optimizer), before)


def test_a_state_that_was_loaded_is_nobody_elses() -> None:
  network = model()
  one, other = (
    twin.ClippedOptimizer(network.parameters(), twin.Adagrad(), twin.Clippy()) for _ in range(2)
  )
  train(network, one, range(1))
  other.load_state_dict(one.state_dict())
  before = everything_of(network, other)[5:]
  train(network, one, range(1))
  assert same(everything_of(network, other)[5:], before)


def test_the_state_of_torchs_own_adagrad_is_refused() -> None:
  network = model()
  theirs = torch.optim.Adagrad(network.parameters())
  optimizer = twin.ClippedOptimizer(network.parameters(), twin.Adagrad(), twin.Clippy())
  with pytest.raises(ValueError, match="not one of a ClippedOptimizer; load it with the optimizer"):
    optimizer.load_state_dict(theirs.state_dict())


def test_tables_are_left_to_the_direction_and_all_else_is_clipped() -> None:
  network = model()
  optimizer = twin.ClippedOptimizer(
    twin.tables_apart(network), twin.Adagrad(), twin.Clippy(0.0, 1e-4), lr=0.5
  )
  before = weights_of(network)
  train(network, optimizer, range(1))
  moved = [np.abs(a - b).max() for a, b in zip(weights_of(network), before, strict=True)]
  assert moved[0] > 1e-2
  np.testing.assert_allclose(moved[1:], 1e-4, rtol=1e-3)
  factors = optimizer.clipping_factors()
  assert [factors[p] == 1 for p in network.parameters()] == [True, False, False, False, False]


def test_rows_that_a_step_does_not_touch_are_not_read_and_do_not_move() -> None:
  for direction in (twin.Adagrad(), twin.Adam(lazy=True), twin.Sgd(0.9, lazy=True)):
    network = model(sparse=True)
    optimizer = twin.ClippedOptimizer(network.parameters(), direction, twin.Clippy(), lr=0.1)
    table = network[0].weight
    table.data[7] = math.nan  # no batch has it
    for rows in ([1, 2], [2, 3], [3, 3]):
      optimizer.zero_grad()
      network(torch.tensor([rows])).sum().backward()
      before = table.detach().clone()
      optimizer.step()
      still = (table == before).all(1)
      assert [row for row in range(20) if not still[row] and row != 7] == sorted(set(rows))
    assert optimizer.skipped_steps == 0


@pytest.mark.parametrize("wrong", ["nan", "inf", "2e19", "rate", "loss"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(wrong: str) -> None:
  network = model()
  optimizer = twin.ClippedOptimizer(
    network.parameters(), twin.Adam(), twin.AdaGC(warmup_steps=1), lr=0.01
  )
  train(network, optimizer, range(3))
  before = everything_of(network, optimizer)
  loss_of(network, 3).backward()
  value = torch.tensor(1.0)
  if wrong == "rate":
    optimizer.param_groups[0]["lr"] = math.nan
  elif wrong == "loss":
    value = torch.tensor(math.nan)
  else:
    network[2].bias.grad[3] = float(wrong)
  optimizer.step(lambda: value)
  assert same(everything_of(network, optimizer), before)
  assert (optimizer.skipped_steps, optimizer.skipped_in_a_row) == (1, 1)
  optimizer.param_groups[0]["lr"] = 0.01
  train(network, optimizer, range(3, 4))
  assert (optimizer.skipped_steps, optimizer.skipped_in_a_row) == (1, 0)
  assert optimizer.param_groups[0]["steps"] == 4


@pytest.mark.parametrize("direction", [("Adagrad", (0.0, 0.0)), ("Adam", (0.9, 0.999, 0.0))])
def test_a_gradient_of_zeros_moves_nothing_even_without_epsilon(direction: Any) -> None:
  name, arguments = direction
  weight = torch.nn.Parameter(torch.ones(3))
  optimizer = twin.ClippedOptimizer([weight], getattr(twin, name)(*arguments), twin.NoClip())
  weight.grad = torch.tensor([0.0, 1.0, 0.0])
  optimizer.step()
  assert weight.detach().numpy() == pytest.approx([1.0, 0.9, 1.0], abs=1e-6)
  assert optimizer.skipped_steps == 0


def test_the_scaler_of_mixed_precision_skips_what_overflows_and_changes_nothing_else() -> None:
  network, plain = model(), model()
  optimizer, beside = (
    twin.ClippedOptimizer(m.parameters(), twin.Adagrad(), twin.Clippy(), lr=0.1)
    for m in (network, plain)
  )
  scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
  for step in range(4):
    optimizer.zero_grad()
    scaler.scale(loss_of(network, step)).backward()
    if step == 2:
      network[4].bias.grad[0] = math.inf
      before = everything_of(network, optimizer)
    scaler.step(optimizer)
    scaler.update()
    if step == 2:
      assert same(everything_of(network, optimizer), before)
      assert scaler.get_scale() == 2.0**9
    else:
      train(plain, beside, [step])
  for a, b in zip(weights_of(network), weights_of(plain), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("clip", stacks.CLIPS, ids=str)
def test_weights_in_pieces_and_in_a_row_move_as_each_alone_does(
  clip: Any, monkeypatch: Any
) -> None:
  ends = []
  for piece, small, together, kept in ((1 << 17, 0, 1, 8), (12, 0, 1, 0), (12, 7, 9, 0)):
    monkeypatch.setattr(twin, "PIECE", piece)
    monkeypatch.setattr(twin, "SMALL", small)
    monkeypatch.setattr(twin, "TOGETHER", together)
    monkeypatch.setattr(twin, "KEPT", kept)
    parameters = [
      torch.nn.Parameter(torch.tensor(np.random.default_rng(k).normal(size=shape)))
      for k, shape in enumerate([(31, 5), (7,), (2, 3, 4), ()])
    ]
    optimizer = twin.ClippedOptimizer(parameters, twin.Adagrad(), twin_of(clip), lr=0.1)
    for step in range(5):
      for k, parameter in enumerate(parameters):
        random = np.random.default_rng([step, k])
        parameter.grad = torch.tensor(random.normal(size=tuple(parameter.shape)))
      optimizer.step()
    ends.append([parameter.detach().numpy() for parameter in parameters])
  for alone, *others in zip(*ends, strict=True):
    for other in others:
      np.testing.assert_allclose(alone, other, rtol=1e-12)


def gradients_of_ones(optimizer: Any, lengths: dict[Any, float]) -> None:
  """A step in which every parameter has a gradient of that length, or none."""
  optimizer.zero_grad()
  for parameter, length in lengths.items():
    parameter.grad = torch.full_like(parameter, length / parameter.numel() ** 0.5)
  optimizer.step()


@pytest.mark.parametrize("clip", [("ZClip", {"warmup_steps": 5}), ("AdaGC", {"warmup_steps": 5})])
def test_one_factor_for_all_has_one_memory_also_of_what_is_unfrozen_and_added_later(
  clip: Any, tmp_path: Path
) -> None:
  name, settings = clip
  early, late, added = (torch.nn.Parameter(torch.ones(4)) for _ in range(3))
  optimizer = twin.ClippedOptimizer(
    [early, late], twin.Sgd(), getattr(twin, name)(**settings), lr=1e-3, scope="global"
  )
  for step in range(20):
    gradients_of_ones(optimizer, {early: 0.9 + 0.01 * (step % 3)})
  optimizer.add_param_group({"params": [added]})
  again = twin.ClippedOptimizer([early, late], twin.Sgd(), twin.NoClip())
  again.add_param_group({"params": [added]})
  torch.save(optimizer.state_dict(), tmp_path / "state")
  again.load_state_dict(torch.load(tmp_path / "state"))
  for each in (optimizer, again):
    gradients_of_ones(each, {early: 0.9, late: 30.0, added: 0.1})
    factors = set(each.clipping_factors().values())
    assert len(factors) == 1
    assert max(factors) < 0.1


def test_one_factor_for_all_is_of_those_with_that_scope_and_clip_alone() -> None:
  weights = [torch.nn.Parameter(torch.ones(4)) for _ in range(4)]
  clips = [twin.GradientClipping(1.0), twin.GradientClipping(1.0), twin.ZClip(), twin.AdaGC()]
  scopes = ["global", "layer", "global", "global"]
  optimizer = twin.ClippedOptimizer(
    [
      {"params": [w], "clip": c, "scope": s} for w, c, s in zip(weights, clips, scopes, strict=True)
    ],
    twin.Sgd(),
    twin.NoClip(),
  )
  for _ in range(3):
    gradients_of_ones(optimizer, dict(zip(weights, [0.5, 100.0, 2.0, 4.0], strict=True)))
  factors = [optimizer.clipping_factors()[weight] for weight in weights]
  assert factors == pytest.approx([1.0, 0.01, 1.0, 0.25])
  norms = [group["memory"] for group in optimizer.param_groups]
  assert [norms[2]["mean_norm"], norms[3]["average_norm"]] == pytest.approx([2.0, 1.0])


@pytest.mark.parametrize("clip", ["ZClip", "AdaGC"])
def test_next_to_nothing_in_a_warm_up_does_not_stop_a_weight(clip: str) -> None:
  weight = torch.nn.Parameter(torch.ones(4))
  optimizer = twin.ClippedOptimizer([weight], twin.Sgd(), getattr(twin, clip)(), lr=0.1)
  for step in range(240):
    gradients_of_ones(optimizer, {weight: 1e-9 if step < 120 else 2.0})
  assert float(weight.detach()[0]) < -4


def test_zeros_before_a_task_begins_do_not_stop_its_layer() -> None:
  weight = torch.nn.Parameter(torch.ones(4))
  optimizer = twin.ClippedOptimizer([weight], twin.Sgd(), twin.ZClip(), lr=0.1)
  for step in range(60):
    weight.grad = torch.full((4,), float(step >= 30))
    optimizer.step()
  assert float(weight.detach()[0]) == pytest.approx(1 - 30 * 0.1)


def test_the_release_of_the_authors_shrinks_by_the_accumulator_before_the_step() -> None:
  weight, gradients = np.array([1.0, -2.0, 0.0]), np.array([[0.5, 0.1, -3.0], [1.0, 0.0, 2.0]])
  parameter = torch.nn.Parameter(torch.tensor(weight))
  optimizer = twin.ClippedOptimizer(
    [parameter],
    twin.Adagrad(accumulate_when="after"),
    twin.Clippy(0.1, 1e-7, accumulator_threshold=0.2),
    lr=0.3,
    accumulate="original",
  )
  total = np.full(3, 0.1)
  for gradient in gradients:
    scale = 1 / np.sqrt(total + 1e-7)
    move, limit = 0.3 * gradient * scale, 0.1 * np.abs(weight) + 1e-7 + 0.2 * scale
    moving = move != 0
    weight = weight - min(1, np.min(limit[moving] / np.abs(move[moving]))) * move
    total = total + gradient**2
    parameter.grad = torch.tensor(gradient)
    optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12)


def test_a_ramp_follows_the_steps_of_the_optimizer_also_for_what_is_added_later() -> None:
  early, added = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))
  clip = twin.GradientClipping(twin.Ramp(4.0, 1.0, steps=3))
  optimizer = twin.ClippedOptimizer([early], twin.Sgd(), clip, lr=1e-3, scope="global")
  factors = []
  for step in range(5):
    if step == 2:
      optimizer.add_param_group({"params": [added]})
    gradients_of_ones(optimizer, {early: 6.0, **({added: 8.0} if step >= 2 else {})})
    factors.append(optimizer.clipping_factors()[early])
  assert factors == pytest.approx([4 / 6, 3 / 6, 2 / 10, 1 / 10, 1 / 10])
  assert optimizer.clipping_factors()[added] == pytest.approx(1 / 10)


def test_muon_refuses_a_vector_before_anything_moves() -> None:
  network = model()
  optimizer = twin.ClippedOptimizer(network.parameters(), twin.Muon(), twin.NoClip())
  before = weights_of(network)
  with pytest.raises(ValueError, match=r"Muon is for matrices, and a parameter has the shape \(16"):
    train(network, optimizer, range(1))
  assert same(weights_of(network), before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_of_half_precision_train_and_stay_what_they_are(dtype: str) -> None:
  network = model().to(getattr(torch, dtype))
  optimizer = twin.ClippedOptimizer(
    network.parameters(), twin.Adagrad(), twin.LayerClippy(), lr=0.1
  )
  for step in range(10):
    optimizer.zero_grad()
    network(torch.tensor([[step, 1]])).square().sum().backward()
    optimizer.step()
  assert {str(parameter.dtype) for parameter in network.parameters()} == {f"torch.{dtype}"}
  assert all(np.isfinite(w).all() for w in weights_of(network))
  assert optimizer.skipped_steps == 0


@pytest.mark.parametrize("sizes", [[3], [3, 2, 4]])
def test_accumulators_of_half_precision_go_on_adding_small_squares(sizes: list[int]) -> None:
  weights = [torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16)) for size in sizes]
  optimizer = twin.ClippedOptimizer(weights, twin.Adagrad(), twin.NoClip(), lr=0.0)
  for _ in range(100):
    for weight in weights:
      weight.grad = torch.full_like(weight, 2**-7)
    optimizer.step()
  for weight in weights:
    accumulator = optimizer.state[weight]["accumulator"]
    assert accumulator.numpy() == pytest.approx(0.1 + 100 * 2**-14)


def test_a_gradient_of_float16_whose_square_float16_does_not_hold_is_taken() -> None:
  weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
  optimizer = twin.ClippedOptimizer([weight], twin.Adagrad(), twin.Clippy(), lr=0.1)
  gradients_of_ones(optimizer, {weight: 1000.0})
  assert optimizer.skipped_steps == 0
  assert float(weight.detach()[0]) == pytest.approx(0.9, abs=1e-3)


def test_a_scheduler_of_pytorch_sets_the_rate_and_a_frozen_layer_stays() -> None:
  weight, frozen = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
  optimizer = twin.ClippedOptimizer([weight, frozen], twin.Sgd(), twin.NoClip(), lr=1.0)
  schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
  for _ in range(3):
    weight.grad = torch.ones(1)
    optimizer.step()
    schedule.step()
  assert [float(w.detach()) for w in (weight, frozen)] == [1 - 1.75, 1]
  cycle = {"max_lr": 1.0, "total_steps": 10}
  torch.optim.lr_scheduler.OneCycleLR(optimizer, cycle_momentum=False, **cycle)
  assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04)
  with pytest.raises(ValueError, match="cycle_momentum"):  # PyTorch's; the page says so
    torch.optim.lr_scheduler.OneCycleLR(optimizer, **cycle)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"clip": "clippy"}, "clip is 'clippy'; make it a clip of this module, an object"),
    ({"lr": -1.0}, "lr is -1.0; make it a number that is not negative"),
    ({"scope": "all"}, 'scope is \'all\'; make it "layer" or "global"'),
    ({"scope": "global", "clip": "agc"}, 'scope="global" needs norms of whole parameters'),
  ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
  given: dict[str, Any] = {"direction": twin.Adagrad(), "clip": twin.Clippy(), **arguments}
  if given["clip"] == "agc":
    given["clip"] = twin.AdaptiveGradientClipping()
  with pytest.raises(ValueError, match=re.escape(message)):
    twin.ClippedOptimizer(model().parameters(), **given)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: twin.Clippy(-0.1), "Clippy.relative_threshold is -0.1; make it a finite number"),
    (lambda: twin.Adam(beta_1=1.0), "Adam.beta_1 is 1.0; make it at least 0 and less than 1"),
    (lambda: twin.ZClip(warmup_steps=0), "ZClip.warmup_steps is 0; make it 1 or more"),
    (lambda: twin.Ramp(1.0, 2.0, 0), "Ramp.steps is 0; make it a whole number, 1 or more"),
    (lambda: twin.Adam(beta_1=twin.Ramp(0.1, 0.2, 9)), "Adam.beta_1 is Ramp(first=0.1, last"),
  ],
)
def test_a_threshold_that_cannot_be_is_refused_in_one_line(make: Any, message: str) -> None:
  with pytest.raises(ValueError, match=re.escape(message)):
    make()


def test_the_code_of_the_page_runs_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
  page = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text()
  (code,) = re.findall(r"## In PyTorch\n\n```py\n(.*?)```", page, re.DOTALL)
  exec(code, {})
  assert 0 <= float(capsys.readouterr().out.split()[1]) < 0.1
