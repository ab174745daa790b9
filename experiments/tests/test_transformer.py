"""The transformer of the paper's A.2: what it may see, its languages, its runs and their page."""

import functools
import json
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.transformer import grid, made_up, page, training, wmt
from experiments.transformer.corpus import END, PADDING, Corpus, padded
from experiments.transformer.grid import Cell
from experiments.transformer.model import Attention, Transformer
from experiments.transformer.training import Trainer, entropy, error_rate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
  return made_up.corpus()


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Transformer:
  return Transformer(corpus.words, width=8, heads=2, inner_width=8)


def test_a_word_sees_the_source_and_the_words_before_it_alone(
  corpus: Corpus, model: Transformer
) -> None:
  source, target = padded(corpus.held_out[:4], corpus.lengths)
  logits = model((source, target)).numpy()
  place = 5
  later = target.copy()
  later[:, place] = (later[:, place] + 1) % corpus.words[1]
  changed = np.abs(model((source, later)).numpy() - logits).max(axis=(0, 2))
  assert not changed[: place + 1].any()  # the word itself is guessed, so not seen either
  assert changed[place + 1 :].all()
  other = source.copy()
  other[:, 0] += 1
  assert np.abs(model((other, target)).numpy() - logits).max(axis=(0, 2)).all()


def test_padding_behind_the_source_changes_nothing(corpus: Corpus, model: Transformer) -> None:
  source, target = padded(corpus.held_out[:4], corpus.lengths)
  longer = np.pad(source, [[0, 0], [0, 3]], constant_values=PADDING)
  np.testing.assert_allclose(model((longer, target)), model((source, target)), atol=1e-5)


def test_attention_is_what_numpy_makes_of_its_weights() -> None:
  """The sum over heads, place by place, in float64."""
  random_ = np.random.default_rng(0)
  rows, asked_length, width, heads = 2, 4, 6, 2
  asking, asked = random_.normal(size=(rows, 3, width)), random_.normal(size=(rows, 4, width))
  visible = random_.random((rows, 1, 3, asked_length)) < 0.6
  visible[..., 0] = True
  layer = Attention(width, heads, "attention")
  found = layer(asking.astype(np.float32), asked.astype(np.float32), visible).numpy()
  query, key, value, out = (
    np.asarray(each.kernel, np.float64) for each in (layer.query, layer.key, layer.value, layer.out)
  )
  for row in range(rows):
    for place in range(3):
      heard = []
      for of_head in np.split(np.arange(width), heads):
        asks = asking[row, place] @ query[:, of_head]
        seen = [k for k in range(asked_length) if visible[row, 0, place, k]]
        scores = [np.exp(asks @ (asked[row, k] @ key[:, of_head]) / np.sqrt(3)) for k in seen]
        values = [asked[row, k] @ value[:, of_head] for k in seen]
        heard.append(np.average(values, axis=0, weights=scores))
      np.testing.assert_allclose(found[row, place], np.concatenate(heard) @ out, atol=1e-5)


def test_the_made_up_languages_are_the_same_every_time_and_nothing_held_out_is_trained_on(
  corpus: Corpus,
) -> None:
  again = made_up.corpus()
  assert again.held_out == corpus.held_out
  trained_on = list(islice(corpus.training(3), 2000))
  assert list(islice(again.training(3), 2000)) == trained_on
  assert list(islice(again.training(4), 2000)) != trained_on
  held_out = {tuple(source) for source, _ in corpus.held_out}
  assert held_out.isdisjoint(tuple(source) for source, _ in trained_on)
  padded(trained_on, corpus.lengths)  # none is longer than it may be


def test_a_translation_is_the_grammar_of_its_source(corpus: Corpus) -> None:
  """Told from the target side: nouns from a dictionary that is inverted, verbs at the end."""
  made = made_up.Languages()
  of_word = {word: noun for either in (made.usual, made.rarer) for noun, word in either.items()}
  for source, target in islice(corpus.training(0), 300):
    assert [of_word[word] for word in target if word in of_word] == [
      word for word in source if word in made.nouns
    ]
    (verb,) = (word for word in source if word in made.verbs)
    assert target[-1] == made.translated[verb]
    assert target.count(made.auxiliary[verb]) == 1
    nouns = [made.gender[of_word[word]] for word in target if word in of_word]
    articles = [made.articles.index(word) for word in target if word in made.articles]
    cases = [0] + [1] * (len(nouns) - 1)
    assert articles == [gender * 2 + case for gender, case in zip(nouns, cases, strict=True)]


def test_who_knows_the_grammar_has_the_error_that_cannot_be_avoided(corpus: Corpus) -> None:
  made = made_up.Languages()
  usual_of = {word: made.usual[noun] for noun, word in made.rarer.items()}

  def translator(batch):
    best = np.vectorize(lambda word: usual_of.get(word, word))(batch[1])
    return np.eye(corpus.words[1], dtype=np.float32)[best]

  assert error_rate(translator, corpus) == pytest.approx(corpus.unavoidable)
  assert corpus.unavoidable == pytest.approx(0.2 * 2.4 / 11, abs=0.01)  # nouns of a sentence


def test_who_sees_the_words_before_alone_has_the_error_that_the_page_says(corpus: Corpus) -> None:
  """The likeliest word after two others, of as many translations as a run has."""
  following: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
  for _, target in islice(corpus.training(0), 9_600):
    for *before, word in triples(target):
      following[tuple(before)][word] += 1
  likeliest = {before: words.most_common(1)[0][0] for before, words in following.items()}
  wrong = [
    likeliest.get(tuple(before)) != word
    for _, target in corpus.held_out
    for *before, word in triples(target)
  ]
  (said,) = re.findall(r"about (\d+) %", (ROOT / "experiments" / "transformer.md").read_text())
  assert int(said) == pytest.approx(100 * np.mean(wrong), abs=1)


def triples(target: Sequence[int]) -> Iterator[tuple[int, int, int]]:
  words = [PADDING, PADDING, *target, END]
  return zip(words, words[1:], words[2:], strict=False)


def test_the_entropy_is_the_loss_of_the_best_constant() -> None:
  assert entropy([3, 3, 3, 5]) == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)


def test_a_trainer_begins_each_cell_anew(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
  small = functools.partial(Transformer, width=8, heads=1, blocks=1, inner_width=8)
  monkeypatch.setattr(training, "Transformer", small)
  trainer = Trainer("adagrad", corpus._replace(held_out=corpus.held_out[:64]))
  calm = Cell("adagrad", "long", rate=0.3, seed=1, steps=20)
  first = trainer.train(calm)
  assert first.errors[-1] < first.errors[0]
  again = trainer.train(calm)
  assert (again.error_rate, again.errors) == (first.error_rate, first.errors)


def test_cells_that_have_a_line_are_not_trained_again(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  line = json.dumps(Cell("adamw", "short", 0.1, 0, 50)._asdict() | {"status": "ok"}) + "\n"
  (tmp_path / "made_up.jsonl").write_text(line)
  asked = [
    "transformer",
    "--methods",
    "adamw",
    "--warm-ups",
    "short",
    "--rates",
    "0.1",
    "--seeds",
    "0",
    "--steps",
    "50",
  ]
  assert main([*asked, f"--results={tmp_path}"]) == 0
  assert (tmp_path / "made_up.jsonl").read_text() == line
  assert capsys.readouterr().out == ""
  (tmp_path / "made_up.jsonl").write_text(line[:-9])
  assert main([*asked, f"--results={tmp_path}"]) == 2
  assert "made_up.jsonl:1 is no cell; remove the line" in capsys.readouterr().err
  assert main(["transformer", "--rates", "-1"]) == 2
  assert "--rates has -1; make it a positive number" in capsys.readouterr().err


def test_wmt_that_cannot_be_downloaded_is_one_line(
  monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  def no_network(*_: object, **__: object) -> None:
    raise urllib.error.URLError("Name or service not known")

  monkeypatch.setattr(urllib.request, "urlopen", no_network)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  assert main(["transformer", "--data=wmt", f"--results={tmp_path}"]) == 2
  said = capsys.readouterr().err
  assert said.startswith("error: TFDS cannot get wmt14_translate/de-en (URLError); run `tfds")
  assert said.count("\n") == 1


def test_words_of_real_text_have_numbers_by_how_frequent_they_are() -> None:
  texts = [("A dog, a cat.", "Ein Hund, ein Kater."), ("One dog", "Ein Hund"), ("", "nothing")]
  made = wmt.of_texts(texts, [("A bird.", "Ein Vogel."), (" ".join("a" * 30), "zu lang")])
  assert made.words == (3 + 6, 3 + 5)
  assert made.held_out == [([3, 2, made.held_out[0][0][2]], [3, 2, made.held_out[0][1][2]])]
  one, other = islice(made.training(0), 2)
  assert {len(one[0]), len(other[0])} == {6, 2}
  assert list(islice(made.training(5), 9)) == list(islice(made.training(5), 9))
  source, target = padded([one, other], made.lengths)
  assert source.shape == target.shape == (2, wmt.LONGEST + 1)
  assert ((source == END).sum(axis=1) == 1).all()


def test_the_page_is_as_its_template_makes_it_of_the_runs_and_has_the_whole_grid(
  monkeypatch: pytest.MonkeyPatch, corpus: Corpus
) -> None:
  monkeypatch.chdir(ROOT)
  runs = page.measured()
  assert (ROOT / "experiments" / "transformer.md").read_text() == page.text(runs, corpus)
  cells = {
    (method, warm_up, rate)
    for method, rates in grid.RATES.items()
    for warm_up in grid.WARM_UPS
    for rate in rates
  }
  assert {*zip(runs.method, runs.warm_up, runs.rate, strict=True)} == cells
  at_three = runs.error_rate[(runs.method == "clippy_wide") & (runs.rate == 3)]
  assert at_three.max() < runs.error_rate[runs.method == "adagrad"].min()
  high = runs.error_rate[(runs.method == "adamw") & (runs.rate >= 0.03)]
  assert (round(100 * high.min()), round(100 * high.max())) == (41, 57)
  assert not runs.lost[runs.method.str.startswith("clippy")].any()
  learned = runs[~runs.lost]
  assert not learned.duplicated(["method", "warm_up", "rate", "error_rate"]).any()  # seeds differ
  assert (runs.error_rate >= (corpus.unavoidable or 0.0) - 1e-9).all()
