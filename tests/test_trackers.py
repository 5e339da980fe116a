"""Trackers: what arrives is whole, and nothing they do reaches the run."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from isosweep import trackers
from isosweep.settings import TrackerSettings
from isosweep.trackers import Tracker, logged_in, open_tracker, service_processes, shallow

KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))


def start(run_dir: Path, **settings) -> Tracker:
    config = {"scene": "demo", "model": {"sdf": {"mlp": {"width": 64}}}, "seed": 3}
    return open_tracker(
        TrackerSettings(**{"name": "wandb", "timeout": 20.0, **settings}),
        run_key=KEY,
        run_dir=run_dir,
        name="neus-hashgrid",
        group="study",
        job_type="train",
        tags=["demo"],
        config=config,
    )


def inspect(run_dir: Path, *options: str) -> str:
    (folder,) = (run_dir / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


class Fake:
    """Records its calls; fails, or waits for ``gate``, where told."""

    name = "fake"

    def __init__(self, *, fails: str = "", waits: str = "", error: BaseException | None = None) -> None:
        self.calls: list[tuple] = []
        self.fails, self.waits = fails, waits
        self.error = error or ConnectionError("the server is gone\nmore")
        self.gate = threading.Event()

    def _call(self, what: str, *details) -> None:
        if what == self.waits:
            self.gate.wait(30)
        if what == self.fails:
            raise self.error
        self.calls.append((what, *details))

    def start(self) -> None:
        self._call("start")

    def where(self) -> tuple[str | None, str]:
        return "http://example.org/r", "look at http://example.org/r"

    def log(self, step, scalars) -> None:
        self._call("log", step, dict(scalars))

    def image(self, name, array, step) -> None:
        self._call("image", name, array.shape, step)

    def mesh(self, name, path) -> None:
        self._call("mesh", name, path.name)

    def summary(self, values) -> None:
        self._call("summary", dict(values))

    def finish(self, exit_code) -> None:
        self._call("finish", exit_code)

    def kill(self) -> None:
        self._call("kill")
        self.gate.set()

    def close(self) -> None:
        self._call("close")


def use(tracker: Tracker) -> None:
    tracker.log(100, {"loss": 1.0})
    tracker.log(100, {"val/psnr": 20.0})
    tracker.image("render", np.zeros((4, 5, 3), np.uint8), 100)
    tracker.log(200, {"loss": 0.5})
    tracker.mesh("mesh", Path("mesh.ply"))
    tracker.summary({"nvs/psnr": 30.0, "nvs/lpips_vgg": None})
    tracker.finish()


def test_offline_run_holds_config_scalars_images_mesh_and_scores(tmp_path, caplog):
    import trimesh

    trimesh.creation.icosphere().export(tmp_path / "mesh.ply")
    with caplog.at_level(logging.INFO, logger="isosweep"):
        tracker = start(tmp_path)
        tracker.log(100, {"loss": 1.0})
        tracker.log(100, {"val/psnr": 20.0})
        tracker.log(200, {"loss": 0.5})
        tracker.image("render", np.full((8, 8, 3), 9, np.uint8), 200)
        tracker.mesh("mesh", tmp_path / "mesh.ply")
        tracker.summary({"nvs/psnr": 30.5, "geometry/chamfer": 0.01, "nvs/lpips_vgg": None})
        tracker.finish()
    assert tracker.degraded is None
    assert tracker.info.id == KEY
    assert "'wandb sync " in tracker.hint
    assert [r.message for r in caplog.records if r.name == "isosweep.trackers"] == [tracker.hint]
    text = inspect(tmp_path, "--summary")
    for piece in ('"scene"', '"demo"', '"mlp.width"', "64", '"nvs/psnr"', "30.5", '"geometry/chamfer"', KEY):
        assert piece in text, text
    assert "lpips" not in text
    records = inspect(tmp_path)
    assert json.loads(text)
    assert "object3D" in records
    assert "image-file" in records
    assert "study" in records
    assert not list(tmp_path.glob(".tracker-*"))
    assert service_processes() == []


def test_two_runs_one_after_the_other_share_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tracker = start(tmp_path / name)
        tracker.summary({f"only_{name}": 1.0})
        tracker.finish()
        assert tracker.degraded is None
    assert "only_a" not in inspect(tmp_path / "b", "--summary")


SCRIPT = """
import logging, os, signal, sys, time
from pathlib import Path
from isosweep.settings import TrackerSettings
from isosweep.trackers import open_tracker, service_processes
logging.basicConfig(level=logging.WARNING, format="%(message)s")
action, folder = sys.argv[1], Path(sys.argv[2])
settings = TrackerSettings(name="wandb", timeout=float(sys.argv[3]))
about = dict(name="n", group=None, job_type="train", tags=[], config={})
tracker = open_tracker(settings, run_key="k", run_dir=folder, **about)
until = time.monotonic() + 30
while "sync" not in tracker.hint and not tracker.degraded and time.monotonic() < until:
    time.sleep(0.05)
tracker.log(1, {"loss": 1.0})
for pid in service_processes():
    print("service", flush=True)
    os.kill(pid, {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "leave": 0}[action])
slowest = 0.0
for step in range(2, 12):
    start = time.monotonic()
    tracker.log(step, {"loss": 1.0 / step})
    slowest = max(slowest, time.monotonic() - start)
    time.sleep(0.05)
start = time.monotonic()
tracker.finish()
print("slowest call below 0.2 s:", slowest < 0.2)
print("finish in", round(time.monotonic() - start), "s")
print("degraded:", tracker.degraded)
"""


def run_script(action: str, folder: Path, timeout: float, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, action, str(folder), str(timeout)],
        capture_output=True,
        text=True,
        timeout=90,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # no terminal to ask on
        env={**os.environ, **env},
    )


def test_killed_service_does_not_stop_the_run(tmp_path):
    done = run_script("kill", tmp_path, 20)
    assert done.returncode == 0, done.stderr
    assert (
        "service\nslowest call below 0.2 s: True\nfinish in 0 s\ndegraded: wandb log failed: " in done.stdout
    )
    assert done.stderr.count("the run goes on without it, its own files are complete") == 1
    assert "Traceback" not in done.stderr


def test_hanging_service_does_not_hold_the_run(tmp_path):
    done = run_script("stop", tmp_path, 3)
    assert done.returncode == 0, done.stderr
    assert "slowest call below 0.2 s: True\nfinish in 3 s\n" in done.stdout
    assert "degraded: wandb did not finish within tracker.timeout=3 s" in done.stdout
    assert "Traceback" not in done.stderr


def test_no_account_is_no_question(tmp_path):
    done = run_script("leave", tmp_path, 20)
    assert (done.returncode, done.stderr) == (0, "")
    assert "degraded: None" in done.stdout


def test_unreachable_server_falls_back_to_offline(tmp_path):
    env = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:1"}
    done = run_script("leave", tmp_path, 8, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("wandb cannot log online (")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "degraded: None" in done.stdout
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_calls_arrive_in_order_and_one_a_step():
    fake = Fake()
    use(tracker := Tracker(fake, run_key=KEY))
    assert fake.calls == [
        ("start",),
        ("image", "render", (4, 5, 3), 100),
        ("log", 100, {"loss": 1.0, "val/psnr": 20.0}),
        ("mesh", "mesh", "mesh.ply"),
        ("summary", {"nvs/psnr": 30.0}),
        ("log", 200, {"loss": 0.5}),
        ("finish", 0),
    ]
    assert tracker.degraded is None
    assert (tracker.info.url, tracker.hint) == ("http://example.org/r", "look at http://example.org/r")


@pytest.mark.parametrize("error", [ConnectionError("gone\nmore"), SystemExit(1), MemoryError()])
@pytest.mark.parametrize("fails", ["start", "log", "summary", "finish"])
def test_broken_tracker_never_raises_and_is_said_once(fails, error, caplog):
    fake = Fake(fails=fails, error=error)
    tracker = Tracker(fake)
    use(tracker)
    what = "start" if fails == "start" else "log"
    assert tracker.degraded.startswith(f"fake {what} failed: {type(error).__name__}: ")
    assert "more" not in tracker.degraded
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "its own files are complete" in caplog.text
    assert fake.calls[-1] == ("close",)
    tracker.log(300, {})
    tracker.finish()


@pytest.mark.parametrize("fails", ["image", "mesh"])
def test_a_picture_that_fails_costs_only_itself(fails, caplog):
    fake = Fake(fails=fails, error=ValueError("too large"))
    tracker = Tracker(fake)
    use(tracker)
    assert "left out: ValueError: too large" in tracker.degraded
    assert ("summary", {"nvs/psnr": 30.0}) in fake.calls
    assert fake.calls[-1] == ("finish", 0)


def test_slow_tracker_drops_calls_and_counts_them(monkeypatch):
    monkeypatch.setattr(trackers, "QUEUE_LENGTH", 4)
    fake = Fake(waits="start")
    tracker = Tracker(fake, timeout=10)
    begin = time.monotonic()
    for step in range(10):
        tracker.log(step, {})
    assert time.monotonic() - begin < 0.5
    fake.gate.set()
    time.sleep(0.2)
    tracker.finish()
    assert tracker.degraded == "5 calls dropped because the tracker was too slow"
    assert [c[1] for c in fake.calls if c[0] == "log"] == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("waits", ["start", "log", "finish"])
def test_hanging_tracker_is_left_behind(waits):
    fake = Fake(waits=waits)
    tracker = Tracker(fake, timeout=0.3)
    begin = time.monotonic()
    use(tracker)
    assert time.monotonic() - begin < 2.5
    assert tracker.degraded == "fake did not finish within tracker.timeout=0.3 s"
    assert ("kill",) in fake.calls


def test_no_tracker_does_nothing(tmp_path):
    for tracker in (start(tmp_path, name="none"), start(tmp_path, mode="disabled")):
        use(tracker)
        assert (tracker.degraded, tracker.hint, tracker.info.name) == (None, "", "none")
    assert os.listdir(tmp_path) == []
    assert not [t for t in threading.enumerate() if t.name == "tracker"]


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"no tracker 'mlflow': there are wandb and none"):
        start(tmp_path, name="mlflow")
    with pytest.raises(ValueError, match=r"no tracker\.mode='on': there are auto, online, offline, disabled"):
        start(tmp_path, mode="on")


def test_mesh_above_the_limit_is_left_out(tmp_path, monkeypatch):
    import trimesh

    monkeypatch.setattr(trackers, "MESH_LIMIT_BYTES", 1000)
    trimesh.creation.icosphere().export(tmp_path / "mesh.ply")
    backend = trackers.Wandb(TrackerSettings(), run_key=KEY, run_dir=tmp_path, about={})
    with pytest.raises(ValueError, match="MB, wandb takes 0 MB at most"):
        backend.mesh("mesh", tmp_path / "mesh.ply")
    assert os.listdir(tmp_path) == ["mesh.ply"]


def test_logged_in_reads_environment_and_netrc(tmp_path, monkeypatch):
    assert not logged_in()
    file = Path(os.environ["NETRC"])
    file.parent.mkdir()
    file.write_text("machine example.org login user password secret\n")
    file.chmod(0o600)
    assert not logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert logged_in()
    file.write_text("no netrc at all {")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert logged_in()


def test_server_of_the_settings_file(tmp_path, monkeypatch):
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.example.org\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert trackers._server() == "https://wandb.example.org"
    (tmp_path / "settings").write_text("nonsense")
    assert trackers._server() == "https://api.wandb.ai"


def test_shallow_config():
    deep = {"a": {"b": {"c": {"d": {"e": 1}}, "f": [1]}}, "g": {}, "h": None}
    assert shallow(deep) == {"a": {"b": {"c.d.e": 1, "f": [1]}}, "g": {}, "h": None}


def test_wandb_is_imported_only_where_used():
    code = (
        "import isosweep.trackers, sys; print([m for m in ('torch', 'wandb', 'trimesh') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
