"""A value on disk whose arrays several processes map into memory, instead of a copy for each."""

import mmap
import pickle
from pathlib import Path
from typing import Any

VALUE, ARRAYS = "value.pickle", "arrays.bin"
ALIGNMENT = 64  # bytes


def save(value: Any, folder: Path) -> None:
  """Writes a value: its arrays one after the other, and a pickle of the rest."""
  buffers: list[pickle.PickleBuffer] = []
  rest = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
  places = []
  with open(folder / ARRAYS, "wb") as file:
    for buffer in buffers:
      raw = buffer.raw()
      places.append((file.tell(), raw.nbytes))
      file.write(raw)
      file.write(bytes(-file.tell() % ALIGNMENT))
  (folder / VALUE).write_bytes(pickle.dumps((rest, places)))


def load(folder: Path) -> Any:
  """What was saved; its arrays cannot be written to."""
  rest, places = pickle.loads((folder / VALUE).read_bytes())
  if not any(size for _, size in places):
    return pickle.loads(rest, buffers=[b""] * len(places))
  with open(folder / ARRAYS, "rb") as file:
    whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
  return pickle.loads(rest, buffers=[whole[start : start + size] for start, size in places])
