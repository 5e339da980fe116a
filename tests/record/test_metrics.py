"""The metrics log under kills and full disks."""

import errno
import json
import math
import os

import pytest

from isosweep.record.metrics import MetricsWriter, read_metrics


def _no_space(*_args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_metrics_round_trip_with_non_finite_values(tmp_path):
    writer = MetricsWriter(tmp_path / "m")
    writer.write(0, {"loss": 0.5}, 1.0)
    writer.write(100, {"loss": math.nan, "lr": -math.inf}, 2.00049)
    writer.close()
    first, second = read_metrics(tmp_path / "m")
    assert first == {"step": 0, "loss": 0.5, "time_s": 1.0}
    assert math.isnan(second["loss"])
    assert second["lr"] == -math.inf
    assert second["time_s"] == 2.0
    for line in (tmp_path / "m").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_torn_last_line_is_dropped_and_overwritten(tmp_path):
    path = tmp_path / "m"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    assert [m["step"] for m in read_metrics(path)] == [1]
    writer = MetricsWriter(path)
    writer.write(2, {"loss": 2.0}, 0.0)
    writer.close()
    assert [m["step"] for m in read_metrics(path)] == [1, 2]


def test_truncation_keeps_steps_up_to_the_checkpoint(tmp_path):
    writer = MetricsWriter(tmp_path / "m")
    for step in (0, 100, 200, 200, 300):
        writer.write(step, {}, 0.0)
    assert writer.truncate_after(200) == 1
    writer.write(300, {"again": 1.0}, 0.0)
    writer.close()
    assert [m["step"] for m in read_metrics(tmp_path / "m")] == [0, 100, 200, 200, 300]


def test_full_disk_in_the_middle_of_a_line_loses_only_that_line(tmp_path, monkeypatch):
    writer = MetricsWriter(tmp_path / "m")
    writer.write(1, {}, 0.0)
    write = os.write
    budget = [5]

    def limited(fd, data):
        if budget[0] <= 0:
            _no_space()
        done = write(fd, bytes(data[: budget[0]]))
        budget[0] -= done
        return done

    monkeypatch.setattr(os, "write", limited)
    with pytest.raises(OSError, match="No space left"):
        writer.write(2, {}, 0.0)
    monkeypatch.undo()
    writer.write(3, {}, 0.0)
    writer.close()
    assert [m["step"] for m in read_metrics(tmp_path / "m")] == [1, 3]


def test_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "m").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"m has a line that is no metrics \(line 2, b'nonsense'"):
        read_metrics(tmp_path / "m")


def test_missing_metrics(tmp_path):
    with pytest.raises(FileNotFoundError, match="the run has not logged a step yet"):
        read_metrics(tmp_path / "m")
