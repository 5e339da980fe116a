"""Runs that earlier versions finished stay finished: their records, without weights, lie in ``earlier/``."""

import shutil
from pathlib import Path

import msgspec
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from isosweep.config.names import Identity, identify
from isosweep.config.schema import CONF
from isosweep.record import Record, find_runs, read_record
from isosweep.record.folder import decide
from isosweep.record.schema import encode_record

EARLIER = Path(__file__).parent / "earlier"
FOLDERS = find_runs(EARLIER)


def composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides, return_hydra_config=True)


def identity(overrides: list[str], root: Path) -> Identity:
    cfg = composed([*overrides, f"run.root={root}"])
    choices = cfg.hydra.runtime.choices
    bare = DictConfig({k: v for k, v in cfg.items_ex(resolve=False) if k != "hydra"})
    return identify(bare, backend="cpu", device="cpu", choices=choices)


def command(record: Record) -> list[str]:
    """Today's overrides of an earlier run: it scored its last step, and trained on all views of real data."""
    today = [*record.overrides, "optim.average=0"]
    return today if record.dataset == "demo" else [*today, "dataset.val_every=null"]


def test_there_are_records_of_every_first_model_and_of_four_data_sets():
    records = [read_record(folder) for folder in FOLDERS]
    assert {r.model for r in records} == {"nerf", "neus", "neus_bg"}
    assert {r.dataset for r in records} == {"demo", "dtu", "blender", "colmap"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_the_command_that_made_a_run_has_nothing_to_do(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "runs")
    record = read_record(folder)
    found = identity(command(record), tmp_path / "runs")
    assert found.key == record.run_key
    assert found.folder == tmp_path / "runs" / folder.relative_to(EARLIER)
    plan = decide(found.folder, record, found.config, code=record.code_hash, force=False, rescore=False)
    assert plan.action == "skip"
    assert "nothing to do" in plan.reason


@pytest.mark.parametrize("more", ["seed=7", "train.max_steps=3", "loss.terms.eikonal.weight=0.7"])
def test_another_command_is_a_new_run(more: str, tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "runs")
    for folder in FOLDERS:
        found = identity([*command(read_record(folder)), more], tmp_path / "runs")
        assert not found.folder.exists()


def test_a_run_of_today_comes_before_an_earlier_one(tmp_path: Path) -> None:
    """Where both are there, the folder with today's key is the run."""
    shutil.copytree(EARLIER, tmp_path / "runs")
    record = read_record(FOLDERS[0])
    new = identity(command(record), tmp_path / "empty")
    assert new.key != record.run_key
    place = tmp_path / "runs" / FOLDERS[0].relative_to(EARLIER)
    own = place.with_name(place.name.replace(record.run_key, new.key))
    own.mkdir()
    (own / "record.json").write_bytes(encode_record(msgspec.structs.replace(record, run_key=new.key)))
    assert identity(command(record), tmp_path / "runs").folder == own


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff\xfe", b'{"run_key": 3}', b'{"run_key": "x", "config": {}}']
)
def test_a_broken_record_beside_it_is_passed_over(damage: bytes, tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "runs")
    folder = tmp_path / "runs" / FOLDERS[0].relative_to(EARLIER)
    broken = folder.with_name(f"a-s{read_record(folder).seed}-{'0' * 16}")
    broken.mkdir()
    (broken / "record.json").write_bytes(damage)
    assert identity(command(read_record(folder)), tmp_path / "runs").folder == folder


def test_a_run_with_the_validation_split_of_its_data_is_todays_run(tmp_path: Path) -> None:
    """dataset.val_every=auto takes no views there, so the run of val_every=null is the same one."""
    shutil.copytree(EARLIER, tmp_path / "runs")
    for folder in (f for f in FOLDERS if read_record(f).dataset != "demo"):
        record, place = read_record(folder), tmp_path / "runs" / folder.relative_to(EARLIER)
        assert identity([*record.overrides, "optim.average=0"], tmp_path / "runs").folder != place, (
            "it trained on every view"
        )
        (place / "metrics.jsonl").write_text('{"step": 1, "val/psnr": 20.5, "time_s": 1.0}\n')
        found = identity([*record.overrides, "optim.average=0"], tmp_path / "runs")
        assert (found.folder, found.key) == (place, record.run_key)
        assert found.config["dataset"]["val_every"] is None
