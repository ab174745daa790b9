"""The workers of a run: processes, each on its machine, that take every step together.

Each reads its own slice of every batch, sums its gradients with those of the others, and so has the
same weights, measurements and verdict. Worker 0 is the chief: it alone has the run directory. The
others get from it what a run goes on from, and need nothing of its disk.

A run of one process is a run of one worker, which never asks anybody.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from ranking.errors import InputError, Lost

Made = TypeVar("Made")
# What TensorFlow raises where another worker is not there any more, or not the one it was.
GONE = (
  tf.errors.UnavailableError,
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
  tf.errors.FailedPreconditionError,
)


class Workers:
  """The workers of a strategy, seen from one of them.

  All methods must be called by all workers, in the same order.

  Attributes:
    replicas: the strategy, whose replicas are on all workers.
    count: how many there are.
    number: of this one, counted from 0.
    is_chief: whether it is worker 0.
  """

  def __init__(self, replicas: tf.distribute.Strategy):
    self.replicas, self.count, self.number = replicas, 1, 0
    if isinstance(replicas, tf.distribute.MultiWorkerMirroredStrategy):
      resolver = replicas.cluster_resolver
      jobs = resolver.cluster_spec().as_dict()
      chiefs = len(jobs.get("chief", []))
      self.count = chiefs + len(jobs.get("worker", []))
      self.number = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    self.is_chief = self.number == 0

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def gathered(codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      lengths = replicas.gather(tf.shape(codes), axis=0)
      with tf.control_dependencies([lengths]):  # in one order on all workers
        return lengths, replicas.gather(tf.identity(codes), axis=0)

    self._gathered: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = gathered

  def texts(self, text: str) -> list[str]:
    """What each worker says, in their order."""
    if self.count == 1:
      return [text]
    codes = tf.constant([*f"{text}\n".encode()], tf.int32)  # never of length 0
    lengths, all_codes = (value.numpy() for value in self._gathered(codes))
    ends = lengths.cumsum()
    return [
      bytes(all_codes[end - length : end].tolist()).decode()[:-1]
      for end, length in zip(ends, lengths, strict=True)
    ]

  def first(self, text: str | None) -> str | None:
    """What the first worker says that says anything."""
    return next((each for each in self.texts(text or "") if each), None)

  def heard(self) -> None:
    """Waits until all have heard what was said last: who ends before that is taken for gone."""
    with contextlib.suppress(*GONE):  # who has heard it may end
      self.texts("")

  def together(self, do: Callable[[], Made]) -> Made:
    """What `do` returns here, once all workers have done it.

    Raises InputError on all workers if it does so on one.
    """
    if self.count == 1:
      return do()
    refused: InputError | None = None
    try:
      made = do()
    except InputError as error:
      refused = error
    said = self.texts(str(refused or ""))
    if any(said):
      self.heard()
    if refused:
      raise refused
    for number, each in enumerate(said):
      if each:
        raise InputError(f"worker {number}: {each}")
    return made

  def chief_first(self, do: Callable[[], Made]) -> Made:
    """What `do` returns here; the others begin when the chief is done, and find what it left.

    Raises InputError on all workers if it does so on one.
    """
    if not self.is_chief:
      self.together(lambda: None)
    made = self.together(do)
    if self.is_chief:
      self.together(lambda: None)
    return made

  def of_chief(self, do: Callable[[], Any]) -> Any:
    """What `do` returns on the chief, which JSON can hold; the others do not call it.

    Raises InputError on all workers if the chief does.
    """
    made = self.together(lambda: do() if self.is_chief else None)
    return made if self.count == 1 else json.loads(self.texts(json.dumps(made))[0])

  def take_from_chief(self, variables: Sequence[tf.Variable]) -> None:
    """Sets variables to what they are on the chief."""

    def share(variable: tf.Variable) -> tf.Tensor:
      first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
      # To add -0.0 changes no number; to add 0.0 would make 0.0 of -0.0.
      return tf.where(first, variable, -tf.zeros_like(variable))

    @tf.function(autograph=False)
    def take() -> None:
      for variable in variables:
        shares = self.replicas.run(share, args=(variable,))
        variable.assign(self.replicas.reduce("SUM", shares, axis=None))

    if self.count > 1:
      take()

  @contextlib.contextmanager
  def missed(self) -> Iterator[None]:
    """Raises Lost if a worker goes away while the body needs it."""
    try:
      yield
    except GONE as error:
      if self.count == 1:
        raise
      raise lost(error) from error


def lost(error: tf.errors.OpError) -> Lost:
  """Which worker is gone, as far as the first that noticed could tell."""
  told = error.message.partition("remote target")[2] or error.message.partition("unhealthy")[2]
  found = re.search(r"/job:(\w+)/replica:0/task:(\d+)", told)
  who = f"{found[1]} {found[2]} of TF_CONFIG" if found else "another worker"
  return Lost(
    f"{who} is gone or has stopped, and a step needs all; the same command on all of them goes on "
    "from the newest checkpoint"
  )
