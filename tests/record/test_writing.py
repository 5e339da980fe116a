"""A record is written whatever the names, numbers and errors in it are."""

import json
from pathlib import Path

import pytest

from isosweep.record import RunRecord, read_record
from isosweep.record.failure import status_of
from isosweep.record.writing import encoded
from tests.record.test_run import CONFIG, start

HUGE = 10**5000


def test_what_json_cannot_hold_is_written_as_text() -> None:
    made = json.loads(encoded({"k\udce9": [{"a": "\ud800"}, HUGE, -HUGE, 7, True, None, 2.5]}))
    assert made == {r"k\xe9": [{"a": r"\ud800"}, hex(HUGE), hex(-HUGE), 7, True, None, 2.5]}


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Circle(Exception):
    pass


def odd_errors() -> dict[str, BaseException]:
    noted = ValueError("x")
    noted.__notes__ = [3, "raise the bar \udce9"]  # pyright: ignore[reportAttributeAccessIssue]
    one, other = Circle("one"), Circle("other")
    one.__cause__, other.__cause__ = other, one
    return {
        "a name": FileNotFoundError("no image caf\udce9.png"),
        "no words": Silent(),
        "notes": noted,
        "a circle": one,
        "many lines": ValueError("\n\nfirst\udcff\nsecond"),
    }


@pytest.mark.parametrize("name", odd_errors())
def test_fail_records_every_error(name: str, tmp_path: Path) -> None:
    run = start(tmp_path)
    run.fail(odd_errors()[name])
    run.close()
    record = read_record(run.folder)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.type == type(odd_errors()[name]).__name__
    assert status_of(odd_errors()[name]) == "failed"


def test_fail_and_close_never_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = start(tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise TypeError("nobody thought of this \udce9")

    monkeypatch.setattr(RunRecord, "update", broken)
    run.fail(ValueError("the first"))
    run.close()
    told = capsys.readouterr().err
    assert r"could not record how the run ended (failed): nobody thought of this \xe9" in told
    assert "could not close the record" in told


def test_a_config_with_names_is_recorded(tmp_path: Path) -> None:
    config = {**CONFIG, "dataset": {"path": "/d/caf\udce9"}}
    with start(tmp_path, config, key="0" * 16, config_yaml="path: caf\udce9") as run:
        run.finish()
    record = read_record(run.folder)
    assert record.status == "finished"
    assert record.config["dataset"] == {"path": r"/d/caf\xe9"}
