"""Importing `ranking` selects legacy Keras, and says so when it comes too late."""

import os
import subprocess
import sys

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}


def python(code: str) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, "-c", code]
  return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_tensorflow_uses_legacy_keras_after_ranking() -> None:
  done = python("import ranking, tensorflow as tf; print(tf.keras.Model.__module__)")
  assert done.stdout.startswith("tf_keras."), done.stderr


def test_tensorflow_before_ranking_fails_with_the_one_line_cure() -> None:
  done = python("import tensorflow, ranking")
  assert done.returncode != 0
  last = done.stderr.strip().splitlines()[-1]
  assert "import `ranking` first, or run: export TF_USE_LEGACY_KERAS=1" in last


def test_reading_data_does_not_load_tensorflow() -> None:
  done = python("import sys, ranking.data.features; print('tensorflow' in sys.modules)")
  assert done.stdout.strip() == "False", done.stderr
