"""The log of a training, with and without TensorBoard."""

import sys

import pytest

from synvid_train.train.run_log import RunLog, read_log


@pytest.mark.parametrize(
    "error",
    [
        "ImportError('cannot import name x')",
        "AttributeError('no bool8')",
        "TypeError('Descriptors cannot be created')",
        "ModuleNotFoundError('No module named six', name='six')",
    ],
)
def test_broken_tensorboard_is_reported_and_skipped(error, monkeypatch, tmp_path):
    """If TensorBoard cannot be imported, that is reported once and the log is written."""
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "run").mkdir()
    messages = []
    log = RunLog(tmp_path / "run", messages.append)
    log.resume(0, evaluated=True)
    log.write({"step": 1, "loss": 0.5})
    assert len(messages) == 1
    assert "TensorBoard is installed but cannot be used" in messages[0]
    assert error.partition("'")[2].partition("'")[0] in messages[0]
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [1]


def test_missing_tensorboard_is_not_reported(monkeypatch, tmp_path):
    """If TensorBoard is not installed, nothing is reported."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    messages = []
    RunLog(tmp_path, messages.append).resume(0, evaluated=True)
    assert messages == []
