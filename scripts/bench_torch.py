"""Times the optimizer's step in PyTorch beside torch's Adagrad: python -m scripts.bench_torch

The weights are those of scripts.bench_optimizers, and 202 small ones. All rules run in turn in one
process; a ratio to Adagrad with foreach=True is taken within a round, and its median printed. Times
are of the CPU, all threads together, so that other work on the machine does not count.
"""

import statistics
import time

import torch

from ranking.optimizers import torch as ours

LARGE: list[tuple[int, ...]] = [
  *((1650, 4096), *[(4096, 4096)] * 3, *[(4096,)] * 4),
  *[shape for _ in range(6) for shape in ((1, 4096), (1,))],
]
SMALL: list[tuple[int, ...]] = [shape for _ in range(101) for shape in ((64, 64), (64,))]
RULES = {
  "naive": ours.NoClip(),
  "gc": ours.GradientClipping(),
  "agc": ours.AdaptiveGradientClipping(),
  "clippy": ours.Clippy(),
  "layer_clippy": ours.LayerClippy(),
  "operator_norm": ours.OperatorNorm(),
  "rms_clip": ours.RmsClip(),
  "lamb": ours.Lamb(),
  "ada_gc": ours.AdaGC(),
}
RATE = 1e-3


def parameters(shapes: list[tuple[int, ...]]) -> list[torch.nn.Parameter]:
  """Weights with fixed gradients."""
  torch.manual_seed(0)
  made = [torch.nn.Parameter(0.02 * torch.randn(shape)) for shape in shapes]
  for parameter in made:
    parameter.grad = 0.01 * torch.randn_like(parameter)
  return made


def measure(shapes: list[tuple[int, ...]], rounds: int) -> None:
  """Prints a line for each rule."""
  adagrad = torch.optim.Adagrad(
    parameters(shapes), RATE, initial_accumulator_value=0.1, foreach=True
  )
  contestants = {"torch Adagrad": adagrad} | {
    name: ours.ClippedOptimizer(parameters(shapes), ours.Adagrad(), clip, RATE)
    for name, clip in RULES.items()
  }
  seconds: dict[str, list[float]] = {name: [] for name in contestants}
  for number in range(rounds + 1):
    for name, optimizer in contestants.items():
      started = time.process_time()
      optimizer.step()
      if number:  # the first makes the slots
        seconds[name].append(time.process_time() - started)
  for name, own in seconds.items():
    ratio = statistics.median(a / b for a, b in zip(own, seconds["torch Adagrad"], strict=True))
    print(f"  {name:14s} {1e3 * statistics.median(own):9.1f} ms   {ratio:.2f} × torch Adagrad")


def main() -> None:
  """Measures and prints."""
  # A first batch does so too: what large tensors leave, the process keeps, and small ones need not
  # ask the system for memory in every step.
  torch.empty(1 << 22).fill_(1.0)
  for shapes, rounds in ((LARGE, 7), (SMALL, 50)):
    count = sum(torch.Size(shape).numel() for shape in shapes)
    print(
      f"{len(shapes)} weights of {count / 1e6:.1f} M numbers, {torch.get_num_threads()} threads"
    )
    measure(shapes, rounds)


if __name__ == "__main__":
  main()
