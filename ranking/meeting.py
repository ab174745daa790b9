"""Where the workers of a cluster wait for each other, before TensorFlow connects them.

TensorFlow itself waits with Python's lock held: no signal is heard then, and no limit of time is
kept. So the first worker listens at its own address, the others knock there and say who they are,
and when all have come it tells them to go on. Who goes away meanwhile may come again. One of
another cluster is told so, and one in whose place another has come: it would wait for ever.
"""

import contextlib
import re
import selectors
import socket
import time
import zlib
from collections.abc import Sequence

from ranking.errors import InputError

GO, OTHER, TWICE = b"go\n", b"other\n", b"twice\n"
KNOCK_EVERY_SECONDS = 0.5
SAY_EVERY_SECONDS = 60.0  # whom a worker still waits for


def meet(addresses: Sequence[str], number: int) -> None:
  """Returns once all workers are here.

  Args:
    addresses: host:port of each worker, the same for all.
    number: of this one.

  Raises InputError if this worker's port is taken, if another says that it is this worker, or if
  the first was given another cluster.
  """
  with _listening(addresses[number], number) as listener:
    if number == 0:
      _wait_for(listener, addresses)
  said = time.monotonic()
  while number and (missed := _missed(addresses, number)):
    if time.monotonic() - said > SAY_EVERY_SECONDS:
      print(f"worker {number} still waits for worker 0 at {addresses[0]}: {missed}", flush=True)
      said = time.monotonic()
    time.sleep(KNOCK_EVERY_SECONDS)


def _listening(address: str, number: int) -> socket.socket:
  """Listens at the port of an address, on all that this machine has. Raises InputError."""
  port = int(address.rpartition(":")[2])
  family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
  try:
    return socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
  except OSError as error:
    raise InputError(
      f"worker {number} of TF_CONFIG cannot listen at {address} ({error.strerror}); end what "
      "does, or give it another port"
    ) from error


def _wait_for(listener: socket.socket, addresses: Sequence[str]) -> None:
  """Waits at the first worker until one connection to each other one is open; says go."""
  here: dict[int, socket.socket] = {}
  with contextlib.ExitStack() as opened, selectors.DefaultSelector() as events:
    events.register(listener, selectors.EVENT_READ)
    while len(here) < len(addresses) - 1:
      ready = events.select(SAY_EVERY_SECONDS)
      if not ready:
        missing = [str(n) for n in range(1, len(addresses)) if n not in here]
        print(f"worker 0 still waits for worker {', '.join(missing)} of TF_CONFIG", flush=True)
      for key, _ in ready:
        if key.fileobj is listener:
          guest = opened.enter_context(listener.accept()[0])
          guest.setblocking(False)
          events.register(guest, selectors.EVENT_READ, guest)
          continue
        guest = key.data
        number = _greeted(guest, addresses)
        if number is None:  # gone, or a stranger
          events.unregister(guest)
          guest.close()
          here = {n: each for n, each in here.items() if each is not guest}
        else:  # the newest, should one come again whose machine went without a word
          if number in here:
            _tell(here[number], TWICE)
          here[number] = guest
    listener.close()  # before anybody goes on: TensorFlow listens there next
    for guest in here.values():
      guest.sendall(GO)


def _greeting(addresses: Sequence[str], number: int) -> bytes:
  """What a worker says when it knocks: who it is, and of which cluster. A few bytes."""
  return f"{number} {zlib.crc32(' '.join(addresses).encode())}\n".encode()


def _greeted(guest: socket.socket, addresses: Sequence[str]) -> int | None:
  """Which worker says that it is here; None if it is none of this cluster, or has gone away."""
  try:
    said = guest.recv(64)
  except OSError:
    return None
  numbers = range(1, len(addresses))
  number = next((n for n in numbers if said == _greeting(addresses, n)), None)
  if number is None and re.fullmatch(rb"\d+ \d+\n", said):
    _tell(guest, OTHER)
  return number


def _tell(guest: socket.socket, what: bytes) -> None:
  """Says a few bytes, to whom may have gone away."""
  with contextlib.suppress(OSError):
    guest.sendall(what)


def _missed(addresses: Sequence[str], number: int) -> str:
  """Knocks at the first worker, and waits; empty once it says go, else why it did not.

  Raises InputError if it will never say so.
  """
  host, _, port = addresses[0].rpartition(":")
  try:
    with socket.create_connection((host.strip("[]"), int(port))) as first:
      first.sendall(_greeting(addresses, number))
      said = first.recv(64)
  except OSError as error:
    return error.strerror or str(error)
  if said == OTHER:
    raise InputError(
      f"worker 0 at {addresses[0]} was given another cluster than worker {number}; give all the "
      "same addresses in the same order in TF_CONFIG"
    )
  if said == TWICE:
    raise InputError(
      f"another process says that it is worker {number} of TF_CONFIG; give each its own index"
    )
  return "" if said == GO else "it went away"
