"""Workers go on when all have come, whoever comes first, goes away again, or is a stranger."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from ranking import meeting
from ranking.errors import InputError
from ranking.meeting import _greeting, meet


def free_addresses(count: int) -> list[str]:
  sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
  addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
  for each in sockets:
    each.close()
  return addresses


def started(addresses: Sequence[str], number: int) -> threading.Thread:
  thread = threading.Thread(target=meet, args=(addresses, number), daemon=True)
  thread.start()
  return thread


def until(is_so: Callable[[], bool]) -> None:
  """Waits for what must come, a minute at most."""
  for _ in range(6000):
    if is_so():
      return
    time.sleep(0.01)
  raise AssertionError("it did not come")


def connected(addresses: Sequence[str]) -> socket.socket:
  """A connection to the first worker, once that listens."""
  found: list[socket.socket] = []

  def connects() -> bool:
    host, port = addresses[0].split(":")
    try:
      found.append(socket.create_connection((host, int(port))))
    except OSError:
      return False
    return True

  until(connects)
  return found[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_the_last_has_come(order: tuple[int, ...]) -> None:
  addresses = free_addresses(3)
  first, second = (started(addresses, number) for number in order[:2])
  time.sleep(0.05)
  assert first.is_alive()
  assert second.is_alive()
  last = started(addresses, order[2])
  for thread in (first, second, last):
    thread.join(60)
    assert not thread.is_alive()
  with socket.create_server(("localhost", int(addresses[0].split(":")[1]))):
    pass  # its port is free for TensorFlow


def test_who_goes_away_is_waited_for_and_a_stranger_is_not_counted() -> None:
  addresses = free_addresses(2)
  first = started(addresses, 0)
  with connected(addresses) as stranger:
    stranger.sendall(b"GET / HTTP/1.1\r\n")
    assert stranger.recv(1) == b""
  with connected(addresses) as gone:
    gone.sendall(b"")
  with pytest.raises(InputError, match=r"worker 0 at \S+ was given another cluster than worker 2"):
    meet([*addresses, *free_addresses(1)], 2)
  assert first.is_alive()
  started(addresses, 1).join(60)
  first.join(60)
  assert not first.is_alive()


def test_of_two_that_say_they_are_one_worker_the_newest_is_believed() -> None:
  addresses, refused = free_addresses(3), list[str]()

  def older() -> None:
    try:
      meet(addresses, 1)
    except InputError as error:
      refused.append(str(error))

  def is_refused_for_a_newer() -> bool:
    with connected(addresses) as newer:
      newer.sendall(_greeting(addresses, 1))
      time.sleep(0.01)
    return bool(refused)

  first = started(addresses, 0)
  threading.Thread(target=older, daemon=True).start()
  until(is_refused_for_a_newer)
  assert refused[0].startswith("another process says that it is worker 1 of TF_CONFIG; give each")
  for number in (1, 2):
    started(addresses, number)
  first.join(60)
  assert not first.is_alive()


def test_a_worker_that_waits_long_says_for_whom(
  capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(meeting, "SAY_EVERY_SECONDS", 0.02)
  monkeypatch.setattr(meeting, "KNOCK_EVERY_SECONDS", 0.01)
  addresses = free_addresses(3)
  said = ""

  def has_said(line: str) -> bool:
    nonlocal said
    said += capsys.readouterr().out
    return line in said

  threads = [started(addresses, 2)]
  refused = f"worker 2 still waits for worker 0 at {addresses[0]}: Connection refused"
  until(lambda: has_said(refused))
  threads.append(started(addresses, 0))
  until(lambda: has_said("worker 0 still waits for worker 1 of TF_CONFIG"))
  threads.append(started(addresses, 1))
  for thread in threads:
    thread.join(60)


def test_a_port_that_is_taken_is_one_line() -> None:
  addresses = free_addresses(2)
  for number, address in enumerate(addresses):
    with socket.create_server(("", int(address.split(":")[1]))):
      message = rf"worker {number} of TF_CONFIG cannot listen at {address} \(Address already in use"
      with pytest.raises(InputError, match=message):
        meet(addresses, number)


def test_a_signal_ends_a_worker_that_waits() -> None:
  addresses = free_addresses(2)
  code = f"from ranking.meeting import meet; print(1, flush=True); meet({addresses}, 0)"
  with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
