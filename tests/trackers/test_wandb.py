"""The wandb client as it is installed: offline runs, killed and hanging services, no account."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isosweep.config.settings import TrackerSettings
from isosweep.trackers import Tracker, Wandb, logged_in, login, media, service_processes, sync_runs
from tests.support.waiting import until
from tests.support.wandb_server import WandbServer
from tests.trackers.support import KEY, TITLE, start


def inspect(run_dir: Path, *options: str) -> str:
    (folder,) = (run_dir / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


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


@pytest.fixture
def online(tmp_path, monkeypatch):
    with WandbServer() as server:
        for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            monkeypatch.setenv(name, str(tmp_path))
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        yield server


def wait_until_started(tracker: Tracker) -> None:
    until(lambda: "starting" not in tracker.hint, 30)


def test_pictures_and_mesh_reach_the_server(online, tmp_path):
    import trimesh

    trimesh.creation.icosphere().export(tmp_path / "mesh.ply")
    tracker = start(tmp_path, entity="lab")
    tracker.log(100, {"loss": 1.0})
    tracker.image("render/000", np.full((8, 8, 3), 9, np.uint8))
    tracker.mesh("mesh", tmp_path / "mesh.ply")
    tracker.finish()
    assert tracker.degraded is None
    files = online.runs[KEY].files
    assert [f.rpartition(".")[2] for f in sorted(files) if f.startswith("media/")] == ["png", "glb"]
    assert online.runs[KEY].config["model"] == {"sdf": {"mlp.width": 64}}


def messages(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def log_one(run_dir: Path, step: int, **more) -> Tracker:
    run_dir.mkdir(exist_ok=True)
    tracker = start(run_dir, **more)
    tracker.log(step, {"train/loss": 1.0})
    tracker.finish()
    assert tracker.degraded is None
    return tracker


AGENT = {
    "WANDB_SWEEP_ID": "sw33p",
    "WANDB_RUN_ID": "agent-s0",
    "WANDB_PROJECT": "search",
    "WANDB_ENTITY": "lab",
}


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_run_of_an_agent_has_the_agents_id_also_when_it_goes_on_without_the_agent(
    mode, online, tmp_path, monkeypatch, caplog
):
    """So the record names a run that exists, and both starts are one run."""
    with monkeypatch.context() as agent:
        for name, value in AGENT.items():
            agent.setenv(name, value)
        info = log_one(tmp_path / "run", 100, mode=mode).info
    assert info.id == "agent-s0"
    assert info.url == (f"{online.url}/lab/search/runs/agent-s0" if mode == "online" else None)
    (warning,) = messages(caplog)
    assert warning.startswith(
        "wandb: this is the run lab/search/agent-s0 of the W&B sweep sw33p, whose agent gives id, project and entity, "
        f"in place of {KEY} in tracker.project=isosweep"
    )
    caplog.clear()
    again = log_one(tmp_path / "run", 200, mode=mode).info
    assert (again.id, again.url) == (info.id, info.url)
    assert messages(caplog) == []
    if mode == "offline":
        monkeypatch.setenv("WANDB_RUN_ID", "another")  # left over in the shell that uploads
        (result,) = sync_runs([tmp_path / "run"])
        assert (result.action, result.segments) == ("synced", 2), result
    assert list(online.runs) == ["agent-s0"]
    seen = online.runs["agent-s0"]
    assert (seen.project, seen.name, seen.steps) == ("search", TITLE, [100, 200])


@pytest.mark.parametrize("variables", [{"WANDB_RUN_ID": "shared"}, AGENT], ids=["id alone", "agent"])
def test_two_seeds_of_one_command_are_never_one_run(variables, online, tmp_path, monkeypatch, caplog):
    for key in ("a" * 16, "b" * 16):
        for name, value in variables.items():  # each process of a launcher inherits them
            monkeypatch.setenv(name, value)
        caplog.clear()
        assert log_one(tmp_path / key, 100, key=key, several=True).info.id == key
        (warning,) = messages(caplog)
        assert "WANDB_RUN_ID ignored: this is one run of a sweep of isosweep" in warning
    assert sorted(online.runs) == ["a" * 16, "b" * 16]


def test_server_that_takes_no_lines_is_recorded(online, tmp_path):
    online.refuse = True
    tracker = start(tmp_path)
    wait_until_started(tracker)
    tracker.log(100, {"loss": 1.0})
    tracker.finish()
    assert tracker.degraded.startswith(
        "wandb log failed: RuntimeError: filestream: fatal error: filestream: failed to upload: 403 Forbidden"
    )
    assert "'wandb sync --include-online " in tracker.degraded


def test_server_that_goes_away_is_recorded(online, tmp_path):
    tracker = start(tmp_path, timeout=6.0)
    wait_until_started(tracker)
    online.__exit__()
    tracker.log(100, {"loss": 1.0})
    begin = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begin < 8.5
    assert tracker.degraded is not None
    assert service_processes() == []


def test_run_with_offline_segments_stays_offline_until_they_are_uploaded(
    online, tmp_path, monkeypatch, caplog
):
    for step in (100, 200):
        with caplog.at_level(logging.INFO, logger="isosweep"):
            tracker = start(tmp_path, mode="offline" if step == 100 else "auto")
            tracker.log(step, {"train/loss": 1.0})
            tracker.finish()
        assert tracker.degraded is None
    assert "offline segments that are not uploaded yet (1); logging offline" in caplog.text
    assert online.runs == {}
    (result,) = sync_runs([tmp_path])
    assert (result.action, result.segments) == ("synced", 2)
    tracker = start(tmp_path)
    tracker.log(300, {"train/loss": 1.0})
    tracker.finish()
    assert online.runs[KEY].steps == [100, 200, 300]
    assert tracker.info.url.startswith(online.url)


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
from isosweep.config.settings import TrackerSettings
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


def test_mesh_above_the_limit_is_left_out(tmp_path, monkeypatch):
    import trimesh

    monkeypatch.setattr(media, "MESH_LIMIT_BYTES", 1000)
    trimesh.creation.icosphere().export(tmp_path / "mesh.ply")
    backend = Wandb(TrackerSettings(), run_id=KEY, run_dir=tmp_path, about={})
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
    assert login.server_url() == "https://wandb.example.org"
    (tmp_path / "settings").write_text("nonsense")
    assert login.server_url() == "https://api.wandb.ai"
