"""Checkpoints: by name, whole or passed over, never half there."""

import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import ranking  # noqa: F401  (before TensorFlow: selects legacy Keras)
from ranking.data.schema import DataError
from ranking.files import crc32, sealed, unsealed
from ranking.training import checkpoint

import tensorflow as tf  # isort: skip


def variables(*names: str, value: float = 0.0) -> list[tf.Variable]:
  return [tf.Variable(tf.fill([2, 3], value + k), name=name) for k, name in enumerate(names)]


def test_values_and_state_come_back(tmp_path: Path) -> None:
  checkpoint.save(tmp_path, 7, variables("a/kernel", "b/bias", value=5.0), {"x": [1, 2]})
  fresh = variables("a/kernel", "b/bias")
  assert checkpoint.restore(tmp_path, fresh, print) == (7, {"x": [1, 2]})
  assert [float(variable[0, 0]) for variable in fresh] == [5.0, 6.0]


def test_variables_created_in_another_order_get_their_own_values(tmp_path: Path) -> None:
  checkpoint.save(tmp_path, 1, variables("a", "b", value=5.0), {})
  b, a = variables("b", "a")
  checkpoint.restore(tmp_path, [b, a], print)
  assert float(a[0, 0]) == 5.0
  assert float(b[0, 0]) == 6.0


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c"), ("a", "z")])
def test_a_missing_or_extra_variable_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
  checkpoint.save(tmp_path, 1, variables("a", "b"), {})
  (first, *_) = sorted({"a", "b"} ^ set(names))
  with pytest.raises(DataError, match=f"has (no )?{first}"):
    checkpoint.restore(tmp_path, variables(*names), print)


def test_another_shape_is_named(tmp_path: Path) -> None:
  checkpoint.save(tmp_path, 1, variables("a"), {})
  with pytest.raises(DataError, match=r"has a with shape \[2, 3\], the model \[4\]"):
    checkpoint.restore(tmp_path, [tf.Variable(tf.zeros([4]), name="a")], print)


def test_two_variables_of_one_name_are_refused(tmp_path: Path) -> None:
  with pytest.raises(ValueError, match="two variables have the same name"):
    checkpoint.save(tmp_path, 1, variables("a", "a"), {})
  assert not list(tmp_path.iterdir())


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
  (tmp_path / ".partial-7").mkdir()  # as a killed process leaves it
  for step in (1, 2, 10):
    checkpoint.save(tmp_path, step, variables("a"), {})
  assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]


def test_the_last_of_each_of_the_newest_days_is_kept_as_well(tmp_path: Path) -> None:
  keeping = checkpoint.Keeping(checkpoints=1, days=2)
  days = {1: "2026-01-01", 2: "2026-01-01", 3: "2026-01-02", 4: "2026-01-02", 5: "2026-01-03"}
  for step, day in days.items():
    checkpoint.save(tmp_path, step, variables("a"), {}, day=day, keeping=keeping)
  assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000004", "step-00000005"]
  (tmp_path / "step-00000004" / "manifest.json").write_text("{")
  checkpoint.save(tmp_path, 6, variables("a"), {}, day="2026-01-03", keeping=keeping)
  assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_what_is_written_is_the_moment_it_was_begun_whatever_is_trained_meanwhile(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  go, write, (weight,) = threading.Event(), checkpoint._write, variables("a", value=5.0)
  state = {"jumps": [1]}

  def later(*given: Any) -> None:
    assert go.wait(60)
    write(*given)

  monkeypatch.setattr(checkpoint, "_write", later)
  writing = checkpoint.begin(tmp_path, 7, [weight], state)
  step = tf.function(lambda: weight.assign_sub(tf.ones([2, 3])), jit_compile=True)
  step()
  weight.scatter_sub(tf.IndexedSlices(tf.ones([1, 3]), tf.constant([0])))
  state["jumps"].append(2)
  assert not writing.done()
  assert not list(tmp_path.iterdir())
  go.set()
  writing.result()
  (fresh,) = variables("a")
  assert checkpoint.restore(tmp_path, [fresh], print) == (7, {"jumps": [1]})
  assert fresh.numpy().tolist() == [[5.0] * 3] * 2
  assert weight.numpy().tolist() == [[3.0] * 3, [4.0] * 3]


def test_what_earlier_versions_wrote_is_restored(tmp_path: Path) -> None:
  checkpoint.save(tmp_path, 3, variables("layer/a"), {"x": 1})
  (weight,) = variables("layer/a", value=5.0)
  path = tmp_path / "step-00000003"
  tf.train.Checkpoint(variables={"layer|a": weight}).write(str(path / "variables"))
  manifest = unsealed((path / "manifest.json").read_text())
  manifest["crc32"] = {file.name: crc32(file) for file in path.glob("variables*")}
  del manifest["day"]
  (path / "manifest.json").write_text(sealed(manifest))
  (fresh,) = variables("layer/a")
  assert checkpoint.restore(tmp_path, [fresh], print) == (3, {"x": 1})
  assert float(fresh[0, 0]) == 5.0


def test_a_later_one_that_was_passed_over_goes_when_the_run_saves_again(
  tmp_path: Path,
) -> None:
  for step in (1, 2, 9, 3):
    checkpoint.save(tmp_path, step, variables("a"), {})
  assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_copy_that_somebody_made_beside_them_is_no_checkpoint_and_stays(tmp_path: Path) -> None:
  for step in (1, 2, 3):
    checkpoint.save(tmp_path, step, variables("a"), {})
    if step == 1:
      shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000001.kept")
      (tmp_path / "step-notes").write_text("of step 1")
  names = ["step-00000001.kept", "step-00000002", "step-00000003", "step-notes"]
  assert sorted(path.name for path in tmp_path.iterdir()) == names
  found = checkpoint.restore(tmp_path, variables("a"), pytest.fail)
  assert found == (3, {})


def test_one_that_does_not_fit_what_lies_beside_it_is_passed_over(tmp_path: Path) -> None:
  for step in (1, 2):
    checkpoint.save(tmp_path, step, variables("a"), {"lines": step})
  said: list[str] = []
  too_long = lambda state: "too long" if state["lines"] > 1 else None  # noqa: E731
  assert checkpoint.restore(tmp_path, variables("a"), said.append, too_long) == (1, {"lines": 1})
  assert said == [f"passing over checkpoint {tmp_path / 'step-00000002'}: too long"]


def test_nothing_to_restore_is_none(tmp_path: Path) -> None:
  assert checkpoint.restore(tmp_path / "none", variables("a"), print) is None


@pytest.mark.parametrize(
  "damage",
  ["flip", "truncate", "remove", "manifest", "no manifest", "another step", "digit", "list"],
)
def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_restored(
  tmp_path: Path, damage: str
) -> None:
  checkpoint.save(tmp_path, 1, variables("a", value=1.0), {"jumps": 7})
  checkpoint.save(tmp_path, 2, variables("a", value=2.0), {"jumps": 7})
  newest = tmp_path / "step-00000002"
  (data,) = newest.glob("variables.data*")
  content = data.read_bytes()
  if damage == "flip":
    data.write_bytes(content[:5] + bytes([content[5] ^ 1]) + content[6:])
  elif damage == "truncate":
    data.write_bytes(content[:-1])
  elif damage == "remove":
    data.unlink()
  elif damage == "manifest":
    (newest / "manifest.json").write_text("{")
  elif damage == "another step":  # a whole one, from elsewhere
    shutil.copy(tmp_path / "step-00000001" / "manifest.json", newest)
  elif damage == "digit":
    text = (newest / "manifest.json").read_text()
    (newest / "manifest.json").write_text(text.replace('"jumps": 7', '"jumps": 8'))
  elif damage == "list":
    (newest / "manifest.json").write_text("[1]")
  else:
    (newest / "manifest.json").unlink()
  said: list[str] = []
  fresh = variables("a")
  assert checkpoint.restore(tmp_path, fresh, said.append) == (1, {"jumps": 7})
  assert float(fresh[0][0, 0]) == 1.0
  assert len(said) == 1
  assert "passing over checkpoint" in said[0]
  assert str(newest) in said[0]


def test_no_whole_checkpoint_is_an_error_with_the_cure(tmp_path: Path) -> None:
  checkpoint.save(tmp_path, 1, variables("a"), {})
  (tmp_path / "step-00000001" / "variables.index").unlink()
  with pytest.raises(DataError, match=r"is whole; bring one back, or remove .* to start again"):
    checkpoint.restore(tmp_path, variables("a"), lambda _: None)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_of_the_new(
  tmp_path: Path,
) -> None:
  checkpoint.save(tmp_path, 1, variables("a"), {})
  large = [tf.Variable(tf.zeros([10_000]), name="a")]
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # bytes that a file may have
  try:
    with pytest.raises(OSError, match="step-00000002: "):
      checkpoint.save(tmp_path, 2, large, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
