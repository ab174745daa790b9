"""Compiles the training step for devices that are not at hand: whether it does, and its cost."""
