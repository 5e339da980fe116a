"""Numbered checkpoints are kept, scored and resumed; a run that starts from weights is known by their content."""

import shutil
from pathlib import Path

import pytest
import torch

from isosweep.app import entry
from isosweep.config.check import ConfigError
from isosweep.record import find_runs, kept_steps, read_record
from isosweep.training import checkpoint
from tests.app.test_run import config, record_of

CHEAP = ("eval.geometry=false", "export=none", "train.val_every=0", "eval.n_views=1", "eval.lpips=null")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished run with checkpoints of steps 5 and 10, for reading only."""
    root = tmp_path_factory.mktemp("kept")
    entry.run(config(root, *CHEAP, "train.keep_every=5"))
    return root


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path, "cpu")["model"]


def test_the_checkpoint_of_every_nth_step_stays_and_the_run_is_the_same(kept: Path) -> None:
    folder, record = record_of(kept)
    assert kept_steps(folder) == [5, 10]
    assert checkpoint.load(folder / "step-00000005.pt", "cpu", record.run_key)["step"] == 5
    assert folder.name.endswith(record_of_config(kept, *CHEAP))


def record_of_config(root: Path, *overrides: str) -> str:
    from isosweep.app.plan import plan_run

    return plan_run(config(root, *overrides)).identity.key


def test_any_kept_step_or_file_is_scored(kept: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(kept, root)
    folder, last = record_of(root)
    assert last.scores is not None
    found = {"last": last.scores.values["nvs/psnr"]}
    file = tmp_path / "brought.pt"
    shutil.copy(folder / "step-00000010.pt", file)
    for which in ("5", "10", str(file)):
        entry.run(config(root, *CHEAP, "mode=eval", f"eval.checkpoint={which}"))
        record = record_of(root)[1]
        assert record.scores is not None
        assert record.scores_of == which
        found[which] = record.scores.values["nvs/psnr"]
    assert found["10"] == found[str(file)]
    assert len({found["last"], found["5"], found["10"]}) == 3
    with pytest.raises(
        ConfigError, match=r"^eval\.checkpoint=7: .* has kept no checkpoint .* has kept: 5, 10 "
    ):
        entry.run(config(root, *CHEAP, "mode=eval", "eval.checkpoint=7"))


def test_a_run_goes_on_from_a_file_bit_for_bit(kept: Path, tmp_path: Path) -> None:
    folder, _ = record_of(kept)
    file = folder / "step-00000005.pt"
    entry.run(config(tmp_path, *CHEAP, f"run.resume={file}"))
    there, record = record_of(tmp_path)
    assert record.attempts[-1].from_step == 5
    one, other = weights(folder / "last.pt"), weights(there / "last.pt")
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match=r"belongs to run .*train\.init_from="):
        entry.run(config(tmp_path / "else", *CHEAP, "seed=1", f"run.resume={file}"))


def test_the_content_of_the_weights_decides_which_run_it_is(kept: Path, tmp_path: Path) -> None:
    folder, _ = record_of(kept)
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    shutil.copy(folder / "step-00000005.pt", one)
    shutil.copy(one, other)
    runs = tmp_path / "runs"
    entry.run(config(runs, *CHEAP, "seed=1", f"train.init_from={one}"))
    (path,) = find_runs(runs)
    record = read_record(path)
    assert len(record.config["train"]["init_hash"]) == 16
    assert record.config["train"]["init_from"] == str(one)
    assert record.attempts[-1].from_step == 0
    key = record.run_key

    def key_from(source: Path, *overrides: str) -> str:
        return record_of_config(runs, *CHEAP, "seed=1", f"train.init_from={source}", *overrides)

    assert key_from(other) == key  # the same content elsewhere
    shutil.copy(folder / "step-00000010.pt", other)
    assert key_from(other) != key
    asked = f"train.init_hash={record.config['train']['init_hash']}"
    with pytest.raises(ConfigError, match=r"and train\.init_hash asks for"):
        key_from(other, asked)
    one.unlink()
    assert key_from(one) == key  # the record remembers what was there
    assert key_from(tmp_path / "gone.pt", asked) == key
    with pytest.raises(ConfigError, match=r"there is no checkpoint .*gone\.pt: give a run's folder"):
        key_from(tmp_path / "gone.pt")
    with pytest.raises(ConfigError, match="which is null: give both"):
        record_of_config(runs, *CHEAP, asked)


def test_a_run_of_before_is_still_found_by_the_path(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isosweep.config import names

    folder, _ = record_of(kept)
    command = config(tmp_path, *CHEAP, "seed=2", f"train.init_from={folder}")
    with monkeypatch.context() as before:
        before.setattr(names, "with_content", lambda config, _: config)
        old = names.identify(command, backend="torch", device="cpu")
    (old.folder).mkdir(parents=True)
    new = names.identify(command, backend="torch", device="cpu")
    assert (new.key, new.folder) == (old.key, old.folder)
    old.folder.rmdir()
    assert names.identify(command, backend="torch", device="cpu").key != old.key
