"""The paper's figures: pure functions from frames to a matplotlib Figure, a column wide."""
