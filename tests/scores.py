"""Labels of 0 and 1 and scores of every sort that a measure must cope with."""

import numpy as np

from ranking.array import Array

ROWS = 5000
RANDOM = np.random.default_rng(2)
NORMAL = RANDOM.normal(size=ROWS)
LABELS = (RANDOM.random(ROWS) < 0.1).astype(np.float32)
SCORES: dict[str, Array] = {
  "float64": NORMAL,
  "float32": NORMAL.astype(np.float32),
  "float16": NORMAL.astype(np.float16),
  "tied": RANDOM.integers(0, 7, ROWS).astype(np.float32),
  "constant": np.full(ROWS, 0.25, np.float32),
  "saturated": (40 + NORMAL).astype(np.float32),
  "tiny": (1e-40 * NORMAL).astype(np.float32),
  "huge": RANDOM.uniform(-1.5e38, 1.5e38, ROWS).astype(np.float32),
  "signed zeros": RANDOM.choice(np.array([-1.0, -0.0, 0.0, 1.0]), ROWS),
}
