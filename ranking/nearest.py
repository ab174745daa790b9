"""What a misspelt name may have meant, for the end of an error message."""

import difflib
from collections.abc import Sequence


def nearest(name: str, valid: Sequence[str]) -> str:
  """The nearest valid name, "; the nearest is 'seed'", or the first few if none is near."""
  close = difflib.get_close_matches(name, valid, n=1, cutoff=0.4)
  if close:
    return f"; the nearest is {close[0]!r}"
  return f"; valid are {', '.join(valid[:8])}{', …' if len(valid) > 8 else ''}"
