"""Names of columns and tasks as TensorFlow takes them in those of layers."""

import re
import zlib


def layer_name(name: str) -> str:
  """A column's name as TensorFlow takes it in that of a layer; one that it does not gets a number.

  Begins with a letter or a digit, and differs for two names that differ.
  """
  safe = re.sub(r"[^A-Za-z0-9_.]", "_", name)
  return name if safe == name and name[:1] != "_" else f"n{zlib.crc32(name.encode()):08x}_{safe}"
