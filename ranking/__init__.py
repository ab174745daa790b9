"""Multitask ranking models that train without diverging.

TensorFlow Recommenders needs Keras 2, which TensorFlow only uses when the environment says so
before TensorFlow is first imported. Importing `ranking` says so, where Keras 2 is installed; an
install of the optimizers for PyTorch or JAX needs none.
"""

import importlib.util
import os
import sys

if importlib.util.find_spec("tf_keras") is not None:
  if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in (
    "1",
    "true",
    "True",
  ):
    raise ImportError(
      "TensorFlow was imported before `ranking`, with Keras 3; import `ranking` first, "
      "or run: export TF_USE_LEGACY_KERAS=1"
    )
  os.environ["TF_USE_LEGACY_KERAS"] = "1"
# No errors about GPUs that are not there: `make doctor` shows the devices.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
