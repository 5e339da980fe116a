"""A record of a later version is read as far as it can be, and nothing writes it."""

import json
from pathlib import Path

import pytest

from isosweep.errors import InputError
from isosweep.evaluation.external import ExternalResult
from isosweep.launchers.cleaning import choose
from isosweep.launchers.run_states import entry_at, to_retry
from isosweep.record import read_record
from isosweep.record.abandoned import close_abandoned
from isosweep.record.key import run_key, score_key
from isosweep.record.schema import ErrorRecord
from isosweep.record.summaries import read_summaries
from isosweep.report.collect import parse_record
from tests.record.test_run import CONFIG, finished, snapshot, start


def later(folder: Path, **fields: object) -> bytes:
    """Make a record one of a later version; returns its bytes."""
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99, "later": [1]} | fields))
    return path.read_bytes()


@pytest.mark.parametrize("status", ["finished", "running", "failed"])
def test_what_is_known_is_read_and_no_start_changes_it(tmp_path, status):
    folder = finished(tmp_path).folder
    later(folder, status=status)
    before = snapshot(folder)
    assert read_record(folder).scores.values["nvs/psnr"] == 30.5
    rows, broken = read_summaries(tmp_path)
    assert rows[folder].status == status
    assert "a newer version of isosweep wrote it (schema 99" in broken[folder / "record.json"]
    for changes in (
        {},
        {"force": True},
        {"rescore": True},
        {"config": CONFIG | {"eval": {"protocol": "neus"}}},
    ):
        with pytest.raises(InputError, match=r"record.json: a newer version of isosweep wrote it"):
            start(tmp_path, **changes)
    assert not close_abandoned(folder, "failed", ErrorRecord(type="a", message="b", traceback=""))
    assert snapshot(folder) == before


def test_a_state_that_is_not_known_yet_is_told_from_damage(tmp_path):
    folder = finished(tmp_path).folder
    data = later(folder, status="paused")
    words = r"a newer version of isosweep wrote it \(schema 99.*; what this version cannot read: Invalid enum value"
    with pytest.raises(InputError, match=words):
        read_record(folder)
    with pytest.raises(InputError, match=words):
        parse_record(data)
    assert "a newer version" in read_summaries(tmp_path)[1][folder / "record.json"]
    later(folder, schema_version=2, status="paused")
    with pytest.raises(InputError, match=r"is not a run record \(Invalid enum value 'paused'"):
        read_record(folder)


@pytest.mark.parametrize("status", ["finished", "failed", "oom"])
@pytest.mark.parametrize("by_name", [False, True])
def test_clean_and_retry_leave_it(tmp_path, status, by_name):
    folder = finished(tmp_path).folder
    later(folder, status=status, trained=False)
    entry = entry_at(folder)
    assert entry is not None
    assert not to_retry(entry)
    named = (lambda entry: True) if by_name else None
    found = choose([entry], frozenset() if by_name else frozenset({status}), finished=True, named=named)
    assert found.doomed == []
    assert "a newer version of isosweep wrote it" in found.kept[0][1]
    assert "delete its folder yourself" in found.kept[0][1]


def test_scores_of_other_programs_do_not_replace_it(tmp_path):
    folder = finished(tmp_path).folder
    later(folder)
    entry = ExternalResult(
        out=folder, method="m", dataset="d", scene="s", seed=0, protocol="standard", force=True
    )
    with pytest.raises(InputError, match=r"record.json: a newer version of isosweep wrote it .*--out"):
        entry.check()


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, True, 1.5, [[]], {"a": {"b": 1}}])
@pytest.mark.parametrize(
    "name", ["dataset", "method", "loss", "train", "eval", "export", "encoding", "device"]
)
def test_any_config_of_a_record_has_keys(name, value):
    config = CONFIG | {name: value}
    assert len(run_key(config)) == len(score_key(config)) == 16
