"""scripts/slurm_local.sh where it must refuse; what it brings up is used by the tests marked slurm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "slurm_local.sh"
# what the script calls before it decides; apt-get and dpkg-query are left out
TOOLS = ["bash", "cat", "grep", "head", "sed", "rm", "mkdir", "dirname"]


def call(*arguments: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # the script adds /usr/sbin and /sbin to PATH: apt-get is in neither
    bash = shutil.which("bash")
    assert bash
    full = {**os.environ, "PATH": str(path), **env}
    return subprocess.run(
        [bash, str(SCRIPT), *arguments], env=full, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the common tools, where ``id`` says what a test wants."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        where = shutil.which(name)
        assert where
        (folder / name).symlink_to(where)
    return folder


def be(tools: Path, uid: int, name: str) -> None:
    script = tools / "id"
    script.write_text(f'#!/bin/sh\ncase "$1" in -u) echo {uid};; *) echo {name};; esac\n')
    script.chmod(0o755)


@pytest.mark.parametrize("command", ["up", "down"])
def test_who_is_not_root_is_told_so_and_nothing_is_made(tools, tmp_path, command):
    be(tools, 1000, "ada")
    done = call(command, path=tools, ISOSWEEP_SLURM_LAB=str(tmp_path / "lab"))
    assert done.returncode == 2
    assert f"'{command}' starts and stops system daemons: run it as root (found user" in done.stderr
    assert not (tmp_path / "lab").exists()


def test_another_system_is_told_so_and_nothing_is_made(tools, tmp_path):
    be(tools, 0, "root")
    done = call("up", path=tools, ISOSWEEP_SLURM_LAB=str(tmp_path / "lab"))
    assert done.returncode == 2
    assert "SLURM is installed with apt-get here, sought on PATH, not found" in done.stderr
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize(
    ("lab", "words"),
    [("/tmp/" + "x" * 80, "too long for Unix sockets"), ("/tmp/a b", "cannot spell the folder")],
)
def test_a_folder_that_slurm_cannot_use_is_refused_as_a_failure(tools, lab, words):
    be(tools, 0, "root")
    for name in ("apt-get", "dpkg-query"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    done = call("up", path=tools, ISOSWEEP_SLURM_LAB=lab)
    assert done.returncode == 1
    assert words in done.stderr
    assert "ISOSWEEP_SLURM_LAB" in done.stderr
    assert not Path(lab).exists()


@pytest.mark.parametrize("arguments", [[], ["start"], ["up", "now"], ["down", "--force"]])
def test_a_wrong_command_shows_the_usage(tools, arguments):
    be(tools, 0, "root")
    done = call(*arguments, path=tools)
    assert done.returncode == 2
    assert "bash scripts/slurm_local.sh up" in done.stderr


@pytest.mark.slurm
def test_status_of_the_cluster_that_is_up(cluster):
    done = call("status", path=Path(os.environ["PATH"].split(":")[0]), PATH=os.environ["PATH"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "slurmd of n2 runs: yes" in done.stdout
    assert "accounting answers: yes" in done.stdout


@pytest.mark.slurm
def test_a_second_lab_beside_the_one_that_runs_is_refused(cluster, tmp_path):
    if os.getuid():
        pytest.skip("only root may bring a cluster up")
    done = subprocess.run(
        ["bash", str(SCRIPT), "up"],
        env={**os.environ, "ISOSWEEP_SLURM_LAB": f"/tmp/isosweep-other-{os.getpid()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "a cluster runs in" in done.stderr
    assert not Path(f"/tmp/isosweep-other-{os.getpid()}").exists()
