"""Figures of predictions and of runs, exact and with their intervals: pure functions of arrays."""
