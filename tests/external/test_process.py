"""Commands of a method: their words, their environment, how they end, and what is read of their lines."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isosweep.config.check import ConfigError
from isosweep.config.method_settings import EnvironmentSettings, MethodSettings, ResumeSettings, WatchSettings
from isosweep.config.method_version import folder_version, version_of
from isosweep.external import gpu, process
from isosweep.external.command import command_words, pattern, write_files
from isosweep.external.environments import python_of, variables, wrapped
from isosweep.external.process import Limits, MethodFailed, MethodOutOfMemory, run
from isosweep.external.watch import Watch
from isosweep.record.failure import status_of
from isosweep.runtime import progress

VALUES = {"data": "/a b/data", "out": "/a b/out", "seed": "3", "python": "python", "folder": "/code"}


def words(method: MethodSettings, **more) -> list[str]:
    return command_words(method, method.commands[0], VALUES, **{"white": False, **more})


@pytest.mark.parametrize(
    ("form", "booleans", "args", "expected"),
    [
        ("--{name} {value}", "flag", {"a": 1, "b": {"c": 0.5}, "d": None}, ["--a", "1", "--b.c", "0.5"]),
        ("--{name} {value}", "flag", {"yes": True, "no": False}, ["--yes"]),
        ("--{name}={value}", "title", {"yes": True, "no": False}, ["--yes=True", "--no=False"]),
        ("{name}={value}", "lower", {"x": True, "y": "a b"}, ["x=true", "y=a b"]),
        ("--{name} {value}", "flag", {"n": [1, 2]}, ["--n", "1", "2"]),
        ("{name}={value}", "flag", {"n": [1, 2]}, ["n=[1,2]"]),
        ("--{name} {value}", "flag", {}, []),
    ],
)
def test_arguments_become_words(form, booleans, args, expected):
    method = MethodSettings("x", commands=["run {args} end"], args=args, args_as=form, booleans=booleans)
    assert words(method) == ["run", *expected, "end"]


def test_placeholders_are_filled_in_and_blanks_stay_in_a_word():
    method = MethodSettings(
        "x",
        commands=["{python} t.py -s {data} --set={out}/x 'two words' {background} {resume}"],
        white_words="--white {seed}",
        resume=ResumeSettings("{out}/*.pt", "--from {checkpoint}"),
    )
    before = ["python", "t.py", "-s", "/a b/data", "--set=/a b/out/x", "two words"]
    assert words(method) == before
    assert words(method, white=True) == [*before, "--white", "3"]
    assert words(method, checkpoint=Path("/a b/1.pt")) == [*before, "--from", "/a b/1.pt"]
    assert pattern("{out}/*.ply", {"out": "/odd[1]"}) == "/odd[[]1]/*.ply"


def test_files_have_their_placeholders_and_a_line_for_each_argument(tmp_path):
    text = 'dir = "{out}"\nblock { a = 1 }\n{args}\n'
    method = MethodSettings(
        "x", files={"c/run.conf": text}, args={"train": {"n": 5}}, args_as="{name} = {value}"
    )
    write_files(method, VALUES, tmp_path)
    assert (tmp_path / "c" / "run.conf").read_text() == 'dir = "/a b/out"\nblock { a = 1 }\ntrain.n = 5\n'
    with pytest.raises(ValueError, match="name a file below"):
        write_files(MethodSettings("x", files={"../out.conf": ""}), VALUES, tmp_path)


def test_environments_wrap_commands(tmp_path, monkeypatch):
    def of(**environment) -> list[str]:
        method = MethodSettings("x", folder="/code", environment=EnvironmentSettings(**environment))
        return wrapped(["python", "t.py"], method, Path("/code"), Path("/run"), "n", cuda=True)

    assert of() == ["python", "t.py"]
    assert of(kind="conda", name="e") == ["conda", "run", "--no-capture-output", "-n", "e", "python", "t.py"]
    assert of(kind="conda", name="/e")[3:5] == ["-p", "/e"]
    docker = of(kind="docker", name="i:1", variables={"A": "b"})
    assert docker[-3:] == ["i:1", "python", "t.py"]
    assert {"--gpus=all", "--name=n", "--volume=/run:/run", "--volume=/code:/code", "--env=A=b"} <= set(
        docker
    )
    assert of(kind="apptainer", name="i.sif")[:3] == ["apptainer", "exec", "--nv"]
    assert of(modules=["cuda/12", "gcc"])[:3] == ["bash", "-lc", 'module load cuda/12 gcc && exec "$@"']
    monkeypatch.setenv("PYTHONPATH", "/ours")
    venv = EnvironmentSettings("venv", str(tmp_path))
    found = variables(venv, 3)
    assert "PYTHONPATH" not in found
    assert found["PATH"].startswith(f"{tmp_path}/bin{os.pathsep}")
    assert found["OMP_NUM_THREADS"] == "3"
    assert python_of(venv) == f"{tmp_path}/bin/python"
    assert variables(EnvironmentSettings(), 1)["PYTHONPATH"] == "/ours"
    assert python_of(EnvironmentSettings()) == sys.executable


def started(tmp_path: Path, code: str, lines: list[str], **limits: float) -> None:
    run(
        [sys.executable, "-c", code],
        folder=tmp_path,
        environment=dict(os.environ),
        log=tmp_path / "log",
        limits=Limits(**limits),
        on_line=lines.append,
    )


def test_lines_are_read_as_they_come_and_carriage_returns_end_them(tmp_path):
    lines: list[str] = []
    code = "import sys; sys.stdout.write('a\\rb\\nc'); sys.stdout.flush(); sys.stderr.write('\\nlast')"
    started(tmp_path, code, lines)
    assert lines == ["a", "b", "c", "last"]
    log = (tmp_path / "log").read_bytes()
    assert log.startswith(f"$ {sys.executable}".encode())
    assert b"\na\rb\nc" in log


def test_a_command_that_a_signal_ends_says_so(tmp_path):
    with pytest.raises(MethodFailed, match="code 137, signal 9"):
        started(tmp_path, "import os; os.kill(os.getpid(), 9)", [])


@pytest.mark.parametrize(
    "words",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "RuntimeError: CUDA error: out of memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 TiB",
        "OSError: [Errno 12] Cannot allocate memory",
    ],
)
def test_want_of_memory_is_told_by_the_last_lines(tmp_path, words):
    code = f"import sys; print({words!r}); print('the wrapper ends'); sys.exit(1)"
    with pytest.raises(MethodOutOfMemory, match="code 1 for want of memory: " + re.escape(words)) as error:
        started(tmp_path, code, [])
    assert status_of(error.value) == "oom"
    assert "dataset.downscale" in error.value.__notes__[0]
    started(tmp_path, f"print({words!r})", [])  # one that ends well had enough


def test_a_kill_for_memory_is_told_by_the_kernels_count(tmp_path, monkeypatch):
    counts = iter((4, 5, 5, 5))
    monkeypatch.setattr(process, "out_of_memory_kills", lambda: next(counts))
    killed = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(MethodOutOfMemory, match="signal 9 for want of memory: the kernel has killed it"):
        started(tmp_path, killed, [])
    with pytest.raises(MethodFailed, match="signal 9: it printed nothing"):
        started(tmp_path, killed, [])


ASKER = """
import os, sys
from pathlib import Path
from isosweep.external.process import Limits, run
folder = Path(sys.argv[1])
code = "import os,time,subprocess,sys; c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)']);"
code += " print(os.getpid(), c.pid, flush=True); time.sleep(600)"
run([sys.executable, "-c", code], folder=folder, environment=dict(os.environ), log=folder / "log",
    limits=Limits(), on_line=lambda line: print(line, flush=True))
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_killed_run_takes_all_processes_of_its_method_with_it(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as asker:
        assert asker.stdout is not None
        pids = [int(word) for word in asker.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(map(gone, pids))
        asker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "they still run"
        time.sleep(0.05)


def watched(settings: WatchSettings, *lines: str):
    steps: list[int] = []
    metrics: list[tuple[int, dict[str, float]]] = []
    told: list[progress.Progress] = []
    watch = Watch(
        settings, "x trains", 100, steps.append, lambda step, values: metrics.append((step, dict(values)))
    )
    with progress.heard_by(told.append):
        for line in lines:
            watch(line)
    return watch, steps, metrics, told


def test_progress_and_metrics_are_read_out_of_lines():
    settings = WatchSettings(r"iter (?P<step>[\d,.k]+)(?:/(?P<total>\d+))?", {"psnr": r"PSNR=([\d.eE+-]+)"})
    watch, steps, metrics, told = watched(
        settings, "hello", "iter 10/200 PSNR=20.5", "iter 10 PSNR=nan", "iter 1,000", "iter 2k", "PSNR=x"
    )
    assert steps == [10, 1000, 2000]
    assert metrics == [(10, {"psnr": 20.5})]
    assert (told[0].done, told[0].total, told[1].total) == (10, 200, 100)
    assert watch.why_no_progress() is None
    assert (
        watched(settings, "hello")[0].why_no_progress().startswith("none of the 1 lines that it printed fits")
    )
    assert watched(settings)[0].why_no_progress().startswith("it printed nothing for")
    assert watched(WatchSettings(), "x")[0].why_no_progress() is None


def test_gpu_memory_is_that_of_the_group():
    mine = os.getpgid(0)
    assert gpu.held_by(mine, f"{os.getpid()}, 300\n1, 5\n{os.getpid()}, 12\nno numbers\n") == 312 * 2**20


def git(folder: Path, *arguments: str) -> None:
    config = ["-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "-C", str(folder), *config, *arguments], check=True, capture_output=True)


def test_the_version_is_the_commit_and_its_changes(tmp_path):
    plain = {"version": "auto", "name": "x", "environment": {"kind": "none", "name": None}}
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text("1")
    assert version_of({**plain, "folder": str(code)}).startswith("files ")
    git(code, "init", "-q")
    git(code, "add", ".")
    git(code, "commit", "-qm", "x")
    folder_version.cache_clear()
    clean = version_of({**plain, "folder": str(code)})
    assert len(clean) == 12
    (code / "train.py").write_text("2")
    folder_version.cache_clear()
    changed = version_of({**plain, "folder": str(code)})
    assert changed.startswith(f"{clean}+")
    assert version_of({**plain, "version": "7", "folder": None}) == "7"
    assert version_of({**plain, "version": "pip:numpy", "folder": None}).startswith("numpy ")
    with pytest.raises(ConfigError, match="version of the package no-such in "):
        version_of({**plain, "version": "pip:no-such", "folder": None})
    with pytest.raises(ConfigError, match="there is no folder with the code of x: clone it there"):
        version_of({**plain, "folder": str(tmp_path / "nothing")})
    with pytest.raises(ConfigError, match="has neither a folder nor an image"):
        version_of({**plain, "folder": None})
    image = {"kind": "docker", "name": "lab/x@sha256:0123456789abcdef"}
    assert version_of({**plain, "folder": None, "environment": image}) == "sha256:0123456789ab"
    (tmp_path / "x.sif").write_bytes(b"image")
    sif = {"kind": "apptainer", "name": str(tmp_path / "x.sif")}
    assert version_of({**plain, "folder": None, "environment": sif}).startswith("sha256:")
