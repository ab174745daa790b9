"""Why runs are lost late, and what a clip does about it: replays of lost runs, taken apart."""

import ranking  # noqa: F401 - before TensorFlow, for which it selects legacy Keras
