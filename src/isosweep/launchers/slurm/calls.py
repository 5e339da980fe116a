"""Calls SLURM's commands, with a time limit and a clean environment; errors carry the commands' own words.

Forms that print the same in SLURM 20.11 to 25 are used: fixed columns, ``-P`` and ``-o`` lines, no ``--json`` (which
needs a plugin). ``ClusterUnreachable`` means "not now".
"""

import contextlib
import difflib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence

from isosweep.errors import InputError

# What names the cluster and its key, rather than a job: sbatch(1) and squeue(1), under ENVIRONMENT VARIABLES.
KEPT = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
# These change the rows, the columns or the times that the query commands print.
_FORMATS = ("SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")
_SILENCE = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted",
    "in standby mode",
    "Problem talking to the database",
)
_CHUNK = 50_000  # bytes of ids on one command line; Linux takes 128 KiB in one argument


class ClusterError(InputError):
    """The cluster cannot do this. ``words`` are those of SLURM's command; empty where it printed none."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


class ClusterUnreachable(ClusterError):
    """The cluster does not answer now and may answer later: worth asking again, unlike other errors."""


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without what a surrounding salloc or sbatch, or a shell profile, would impose on a new job.

    sbatch puts SBATCH_* above the lines of a batch script, so a forgotten SBATCH_PARTITION beats the launcher's
    partition; SLURM_* of a surrounding job become options of srun. What only says which cluster is meant stays
    (``KEPT``). Inside a job the cards of that job go as well. Defaults a user keeps in the shell profile are read
    by ``shell_defaults``.
    """
    dropped = ("SLURM_", "SBATCH_", "SRUN_")
    clean = {name: value for name, value in env.items() if name in KEPT or not name.startswith(dropped)}
    if "SLURM_JOB_ID" in env:
        for name in _DEVICES:
            clean.pop(name, None)
    return clean


def shell_defaults(env: Mapping[str, str]) -> dict[str, str]:
    """account, partition and qos of SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_QOS, as far as they are set.

    Many clusters tell their users to export these, and an account that is always needed stands nowhere else.
    """
    names = {name: env.get(f"SBATCH_{name.upper()}", "") for name in ("account", "partition", "qos")}
    return {name: value for name, value in names.items() if value}


def run(command: Sequence[str], timeout_s: float = 30.0, tolerate: Sequence[str] = ()) -> str:
    """What ``command`` printed. A failure whose words contain one of ``tolerate`` is as good as success.

    Raises:
        ClusterUnreachable: no answer within ``timeout_s`` seconds, or the daemon behind it is silent.
        ClusterError: the command is not there, or failed; its own words are in the message and in ``words``.
    """
    name = command[0]
    path = shutil.which(name)
    if path is None:
        raise ClusterError(
            f"SLURM's command {name!r} was sought on PATH and not found: run this on a machine of the cluster "
            "(a login node), load its module, or use hydra/launcher=local."
        )
    env = {k: v for k, v in clean_environment(os.environ).items() if not k.startswith(_FORMATS)}
    # 0: array expressions in full instead of cut off after 64 bytes
    env |= {"LC_ALL": "C", "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    try:
        process = subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        raise ClusterError(f"{path} could not be started: {error}.") from error
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException as error:
            # the whole session: sites wrap these commands in scripts, whose children would hold the pipes open
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ClusterUnreachable(
                    f"{_short(command)} did not answer within {timeout_s:g} s: the cluster is busy or down; "
                    "try again, and ask its administrators if it stays so."
                ) from None
            raise
    text, words = out.decode(errors="replace"), err.decode(errors="replace").strip()
    if process.returncode == 0 or any(part in words + text for part in tolerate):
        return text
    words = words or text.strip() or f"nothing, exit code {process.returncode}"
    message = f"{_short(command)} failed; it said: {words}"
    if any(part in words for part in _SILENCE):
        raise ClusterUnreachable(message, words)
    raise ClusterError(message, words)


def require_cluster(timeout_s: float = 10.0) -> None:
    """Return if there is a cluster that answers.

    Raises:
        ClusterError: SLURM's commands are not on PATH.
        ClusterUnreachable: they are, but the controller does not answer within ``timeout_s`` seconds.
    """
    for command in ("sbatch", "squeue", "scontrol"):
        run([command, "--version"], timeout_s)
    answer = run(["scontrol", "ping"], timeout_s, tolerate=["DOWN"])
    if not re.search(r"\bUP\b", answer):
        said = answer.splitlines()[0] if answer.strip() else "nothing"
        raise ClusterUnreachable(
            f"no SLURM controller answers; 'scontrol ping' said: {said}. Wait and try again, ask the cluster's "
            "administrators, or use hydra/launcher=local.",
            answer,
        )


def _short(command: Sequence[str]) -> str:
    line = " ".join(command)
    return line if len(line) <= 80 else f"{line[:77]}..."


def chunks(ids: Iterable[str], size: int = _CHUNK) -> Iterator[list[str]]:
    """``ids`` in lists that fit on one command line."""
    chunk: list[str] = []
    length = 0
    for one in ids:
        if chunk and length + len(one) + 1 > size:
            yield chunk
            chunk, length = [], 0
        chunk.append(one)
        length += len(one) + 1
    if chunk:
        yield chunk


def nearest(word: str, known: Iterable[str]) -> str:
    """``"did you mean 'a'? There are: a, b"``, or ``"there are: a, b"`` where none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    there = ", ".join(names) or "none"
    return f"did you mean {near[0]!r}? There are: {there}" if near else f"there are: {there}"


def seconds(text: str) -> int | None:
    """Seconds of a time as SLURM prints it, ``[days-][hours:]minutes:seconds``; None for UNLIMITED or INVALID."""
    days, dash, clock = text.strip().rpartition("-")
    parts = clock.split(":")
    if not all(p.isdecimal() for p in parts) or (dash and not days.isdecimal()) or len(parts) > 3:
        return None
    total = 0
    for part in [*([0] * (3 - len(parts))), *parts]:
        total = 60 * total + int(part)
    return total + 86400 * int(days or 0)
