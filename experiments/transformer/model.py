"""A small encoder–decoder transformer (Vaswani et al. 2017), in the form the paper's A.2 trained.

As in init2winit's "xformer_translate", each block normalises its input, not its output; attention
has no biases; positions are sines; the three tables of words (source, target, logits) are apart.
"""

import numpy as np
import tensorflow as tf
import tf_keras

from experiments.transformer.corpus import PADDING
from ranking.array import Array

HIDDEN = -1e9  # the score of what must not be looked at


class Transformer(tf_keras.Model):
  """Logits of the next target word, from the source and the target words before it.

  Args:
    words: how many numbers each language has.
    width: of the residual stream.
    heads: of each attention, which share the width.
    blocks: of the encoder, and as many of the decoder.
    inner_width: of the hidden layer in each block.
  """

  def __init__(
    self,
    words: tuple[int, int],
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
    inner_width: int = 128,
  ):
    super().__init__(name="transformer")
    self.source_words = _table(words[0], width, "source_words")
    self.target_words = _table(words[1], width, "target_words")
    self.encoder = [_Block(width, heads, inner_width, f"encoder_{k}") for k in range(blocks)]
    self.decoder = [_Block(width, heads, inner_width, f"decoder_{k}", True) for k in range(blocks)]
    self.encoded_norm = _norm("encoded_norm")
    self.decoded_norm = _norm("decoded_norm")
    self.logits = tf_keras.layers.Dense(words[1], name="logits")
    self.width = width

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Float32 logits [rows, target length, target words].

    Args:
      inputs: source and target, int32 [rows, length] each, padded. The logits at a place are those
        of the target's word there, and see the words before it alone.
    """
    source, target = inputs
    is_word = (source != PADDING)[:, tf.newaxis, tf.newaxis, :]
    encoded = self.source_words(source) + _positions(source.shape[1], self.width)
    for block in self.encoder:
      encoded = block(encoded, is_word)
    encoded = self.encoded_norm(encoded)
    before = tf.pad(target, [[0, 0], [1, 0]])[:, :-1]  # moved by one: PADDING starts a sentence
    past = _past(target.shape[1])
    decoded = self.target_words(before) + _positions(target.shape[1], self.width)
    for block in self.decoder:
      decoded = block(decoded, past, encoded, is_word)
    return self.logits(self.decoded_norm(decoded))


class Attention(tf_keras.layers.Layer):
  """softmax(q kᵀ / sqrt(width of a head)) v, with heads beside each other."""

  def __init__(self, width: int, heads: int, name: str):
    super().__init__(name=name)
    self.heads, self.head_width = heads, width // heads
    self.query, self.key, self.value, self.out = (
      tf_keras.layers.Dense(width, use_bias=False, name=each)
      for each in ("query", "key", "value", "out")
    )

  def call(self, asking: tf.Tensor, asked: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """What each place of `asking` finds, [rows, length, width].

    Args:
      asking: [rows, length, width].
      asked: [rows, length of the other, width].
      visible: bool [rows or 1, 1, length or 1, length of the other], what each place may look at.
    """
    query = self._split(self.query(asking))
    key, value = self._split(self.key(asked)), self._split(self.value(asked))
    scores = tf.einsum("rqhw,rkhw->rhqk", query, key) / self.head_width**0.5
    shares = tf.nn.softmax(tf.where(visible, scores, HIDDEN))
    found = tf.einsum("rhqk,rkhw->rqhw", shares, value)
    return self.out(tf.reshape(found, tf.shape(asking)))

  def _split(self, places: tf.Tensor) -> tf.Tensor:
    """[rows, length, width] as [rows, length, heads, width of a head]."""
    return tf.reshape(places, [-1, places.shape[1], self.heads, self.head_width])


class _Block(tf_keras.layers.Layer):
  """Attention to its own side, in the decoder to the other side, and a hidden layer."""

  def __init__(self, width: int, heads: int, inner_width: int, name: str, decodes: bool = False):
    super().__init__(name=name)
    self.norms = [_norm(f"norm_{k}") for k in range(3 if decodes else 2)]
    self.own = Attention(width, heads, "own")
    self.other = Attention(width, heads, "other") if decodes else None
    self.inner = tf_keras.layers.Dense(inner_width, activation="relu", name="inner")
    self.outer = tf_keras.layers.Dense(width, name="outer")

  def call(
    self,
    places: tf.Tensor,
    visible: tf.Tensor,
    encoded: tf.Tensor | None = None,
    encoded_visible: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """[rows, length, width], as `places`; masks as in `Attention`."""
    normal = self.norms[0](places)
    places += self.own(normal, normal, visible)
    if self.other is not None:
      places += self.other(self.norms[1](places), encoded, encoded_visible)
    return places + self.outer(self.inner(self.norms[-1](places)))


def _norm(name: str) -> tf_keras.layers.Layer:
  return tf_keras.layers.LayerNormalization(epsilon=1e-6, name=name)


def _table(words: int, width: int, name: str) -> tf_keras.layers.Layer:
  return tf_keras.layers.Embedding(
    words, width, tf_keras.initializers.RandomNormal(stddev=1.0), name=name
  )


def _past(length: int) -> tf.Tensor:
  """Bool [1, 1, length, length]: whether a place may look at another, itself or one before."""
  return tf.constant(np.tri(length, dtype=bool)[np.newaxis, np.newaxis])


def _positions(length: int, width: int) -> Array:
  """Sines and cosines of wavelengths from 2π to 20,000π, float32 [length, width]."""
  angles = np.arange(length)[:, np.newaxis] / 10_000 ** np.linspace(0, 1, width // 2)
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
