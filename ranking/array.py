"""The type of a NumPy array whose shape and dtype a docstring says."""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
