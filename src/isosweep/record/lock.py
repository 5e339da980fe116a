"""One process per run folder, on local and on network file systems, without a server.

The file ``lock`` names its holder. It is made by a hard link, which exactly one of many callers gets, and a thread
of the holder touches it every ``heartbeat`` seconds. A holder is gone when

- its process is gone (same machine: the process is looked up, and one that lives is never replaced);
- SLURM has started its job again, which it does only after the job has ended;
- its last heartbeat is older than ``stale_after`` by the file server's clock (another machine).

A holder on another machine that may be dead is watched until it shows a heartbeat or is gone.

A lock left behind by X is taken over in these steps: create ``lock.after-<X>`` exclusively (the claim), read
everything again, rename onto ``lock``, remove the claim. ``lock`` is never absent in between. A claim names its
holder too and is judged in the same way, so a process that dies half way blocks nobody.

The library filelock (4.3.1, ``SoftFileLease``) was tried in its place, with a lease of 6 s on both sides:

- A job that SLURM had started again on another node waited the whole lease: a lease knows host and process, no
  job. This lock took 0.01 s. With the default of ``run.stale_after`` that is 180 s of a GPU for each requeue.
- A holder elsewhere that had been silent for a day cost the whole lease as well: age counts from the first look.
- A holder that was stopped on the same machine (SIGSTOP, a suspended laptop) lost the lease while it lived: two
  processes then write one run. This lock refuses.
- A contender with another ``run.stale_after`` was refused for that alone.
"""

import atexit
import contextlib
import errno
import logging
import os
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from isosweep.errors import InputError, UserError
from isosweep.record.processes import boot_id, pid_namespace, start_time
from isosweep.record.reading import Unreadable, decoded
from isosweep.record.writing import encoded
from isosweep.runtime.children import exists
from isosweep.runtime.files import BINARY, storage_error

log = logging.getLogger(__name__)

LOCK_FILE = "lock"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LockHeld(UserError, RuntimeError):
    """Another process works in this run folder."""


class LockLost(UserError, RuntimeError):
    """Another process has taken over the lock that this process held."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, as the file says. The pid alone could be another process's by now: ``boot`` (of the machine),
    ``namespace`` (of pids, in containers) and ``birth`` (start of the process) tell them apart.
    """

    nonce: str
    host: str = "unknown"
    pid: int = 0
    boot: str = ""
    namespace: str = ""
    birth: str = ""
    job: str | None = None
    restart: int = 0
    """How often SLURM has requeued the job."""
    taken: str = "unknown"
    heartbeat: float = 0.0


_DECODER = msgspec.json.Decoder(Holder)


class _LockFile(msgspec.Struct, frozen=True):
    """A lock or a claim as it was read."""

    path: Path
    holder: Holder
    mtime: float


def this_process(heartbeat: float) -> Holder:
    return Holder(
        nonce=secrets.token_hex(8),
        host=socket.gethostname(),
        pid=os.getpid(),
        boot=boot_id(),
        namespace=pid_namespace(),
        birth=start_time(os.getpid()),
        job=job_id(),
        restart=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        heartbeat=heartbeat,
    )


def job_id() -> str | None:
    """The SLURM job this process belongs to, with its array index, or None."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{task}" if job and task else job


class Lock:
    """The lock of one folder, held from ``acquire`` to ``release``; seconds throughout."""

    def __init__(self, folder: Path, *, heartbeat: float = 30.0, stale_after: float = 180.0) -> None:
        if not 0 < 3 * heartbeat <= stale_after:
            raise InputError(
                f"run.stale_after={stale_after:g} s must be at least three heartbeats "
                f"(run.heartbeat={heartbeat:g} s): one late heartbeat would hand a live run to another "
                "process; raise run.stale_after"
            )
        self.path = folder / LOCK_FILE
        self.heartbeat = heartbeat
        self.stale_after = stale_after
        self.holder = this_process(heartbeat)
        self.lost = False
        self._held = False
        self._last_confirmed = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> "Lock":
        """Take the lock or raise LockHeld. Where the holder lives on this machine, nothing is written."""
        for _ in range(20):  # each failed turn means that another process made progress
            if self._try_to_take() or (self._wait_until_gone() and self._try_to_take()):
                self._held = True
                self._last_confirmed = time.monotonic()
                self._thread = threading.Thread(target=self._keep_fresh, name="lock-heartbeat", daemon=True)
                self._thread.start()
                atexit.register(self.release)
                return self
        raise LockHeld(
            f"{self.path} changes hands all the time: several starts compete for this run; try again"
        )

    def check(self) -> None:
        """Raise LockLost where another process has taken over the folder, or somebody has deleted it.

        The file is read only where the heartbeat is late, as after a suspended laptop or SIGSTOP.
        """
        if self._held and not self.path.exists():
            self.lost = True
        if self._held and not self.lost and time.monotonic() - self._last_confirmed > 1.5 * self.heartbeat:
            self._renew()
        if self.lost and not self.path.parent.is_dir():
            raise LockLost(
                f"{self.path.parent} is gone: it was deleted or moved while this run was at work in it. Nothing more "
                "is written; bring it back, or start the same command again, which then begins anew"
            )
        if self.lost:
            now = _read_lock(self.path)
            state = f"held by {_describe(now.holder)} now" if now else "gone"
            raise LockLost(
                f"this process no longer owns {self.path.parent}: the lock is {state}. It was silent for "
                f"longer than run.stale_after={self.stale_after:g} s, or the lock was removed. Nothing more "
                "is written; start the run again, it goes on from the last checkpoint"
            )

    def release(self) -> None:
        """Remove the lock if it is still ours. A forked child never does."""
        if not self._held or os.getpid() != self.holder.pid:
            return
        self._held = False
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        atexit.unregister(self.release)
        seen = _read_lock(self.path)
        if seen is not None and seen.holder.nonce == self.holder.nonce:
            with contextlib.suppress(OSError):  # a lock that cannot be removed goes stale by itself
                self.path.unlink()

    def _try_to_take(self) -> bool:
        chain = self._read_chain()
        if chain and process_is_alive(chain[-1].holder):
            raise LockHeld(self._refusal(chain[-1], None))
        mine = self.path.with_name(f".lock-{self.holder.nonce}.tmp")
        try:
            mine.write_bytes(encoded(self.holder) + b"\n")
            if not chain:
                return _create_exclusively(mine, self.path)
            return self._take_over(chain, mine)
        except OSError as error:
            raise storage_error(error, mine) from error
        finally:
            with contextlib.suppress(OSError):  # renamed into place, or never written
                mine.unlink()

    def _wait_until_gone(self) -> bool:
        """Wait until a holder whose process cannot be looked up is gone; LockHeld once it shows a heartbeat."""
        probe = self.path.with_name(f".lock-{self.holder.nonce}.tmp")
        first, since = None, time.monotonic()
        try:
            while (chain := self._read_chain()) and process_is_alive(chain[-1].holder) is None:
                last = chain[-1]
                probe.touch()
                age = _server_time(probe) - last.mtime
                if self._is_gone(last, probe):
                    return True
                same = first is None or first.holder.nonce == last.holder.nonce
                moved = first is not None and last.mtime > first.mtime
                if not same or moved or time.monotonic() - since > self._patience(last) + 2 * self.heartbeat:
                    raise LockHeld(self._refusal(last, age))
                if first is None:
                    log.info(
                        "%s is held by %s, last sign of life %.0f s ago: waiting for the next one, at most %.0f s",
                        self.path.parent,
                        _describe(last.holder),
                        age,
                        self._patience(last) - age,
                    )
                first = last
                time.sleep(min(1.0, 0.5 * self.heartbeat))
            return True
        finally:
            probe.unlink(missing_ok=True)

    def _patience(self, seen: _LockFile) -> float:
        return max(self.stale_after, 3 * seen.holder.heartbeat)

    def _take_over(self, chain: list[_LockFile], mine: Path) -> bool:
        last = chain[-1]
        if not self._is_gone(last, mine):
            return False
        claim = _claim_path(self.path, last.holder)
        if not _create_exclusively(mine, claim):
            return False
        again = self._read_chain()
        names = [seen.holder.nonce for seen in again]
        expected = [*(seen.holder.nonce for seen in chain), self.holder.nonce]
        if names != expected or not self._is_gone(again[-2], mine):
            claim.unlink()
            return False
        os.replace(mine, self.path)
        for seen in chain[1:]:
            seen.path.unlink(missing_ok=True)
        claim.unlink(missing_ok=True)
        return True

    def _read_chain(self) -> list[_LockFile]:
        """The lock, the claim on its holder, the claim on that claim's holder, ...: the last holder decides."""
        chain: list[_LockFile] = []
        path = self.path
        while (seen := _read_lock(path)) is not None:
            chain.append(seen)
            path = _claim_path(self.path, seen.holder)
        return chain

    def _is_gone(self, seen: _LockFile, probe: Path) -> bool:
        verdict = process_is_alive(seen.holder)
        if verdict is not None:
            return not verdict
        now = _read_lock(seen.path)
        if now is None or now.holder.nonce != seen.holder.nonce:
            return False
        if now.holder.job == self.holder.job is not None and now.holder.restart < self.holder.restart:
            # SLURM starts a job again only after it has ended; what still lives on a lost node loses its lock
            return True
        return _server_time(probe) - now.mtime > self._patience(seen)

    def _keep_fresh(self) -> None:
        while not self._stop.wait(self.heartbeat):
            self._renew()
            if self.lost:
                return

    def _renew(self) -> None:
        """Touch the lock if it is still ours. The file server sets the time."""
        try:
            seen = _read_lock(self.path)
            if seen is None or seen.holder.nonce != self.holder.nonce:
                self.lost = self._held
                return
            os.utime(self.path)
            self._last_confirmed = time.monotonic()
        except OSError:
            # a file server may be away for a moment, but not for longer than others wait
            self.lost = self._held and time.monotonic() - self._last_confirmed > self.stale_after

    def _refusal(self, seen: _LockFile, age: float | None) -> str:
        sign = "its process is alive" if age is None else f"last sign of life {age:.0f} s ago"
        patience = self._patience(seen)
        return (
            f"{self.path.parent} is in use: {_describe(seen.holder)} has held it since {seen.holder.taken} "
            f"({sign}). Nothing was started. Wait for it to end, or stop it; if it is certainly gone, "
            f"delete {seen.path} (without a heartbeat it is taken over after {patience:g} s)"
        )


def left_by_the_dead(path: Path) -> bool:
    """Whether the holder in a lock's temporary file, or in a claim, is a process of this machine that is gone."""
    seen = _read_lock(path)
    return seen is not None and process_is_alive(seen.holder) is False


def read_holder(folder: Path) -> Holder | None:
    """Who holds the lock of ``folder``, as written there; None without a lock."""
    seen = _read_lock(folder / LOCK_FILE)
    return seen.holder if seen else None


def holder_is_alive(folder: Path, stale_after: float = 180.0) -> bool:
    """Whether a process seems to work in ``folder``, for tables and plans. Only ``acquire`` decides.

    Nothing is written, so a holder on another machine is judged by this machine's clock.
    """
    try:
        seen = _read_lock(folder / LOCK_FILE)
    except OSError:
        return True  # somebody has a lock there, which this user may not read
    if seen is None:
        return False
    verdict = process_is_alive(seen.holder)
    if verdict is not None:
        return verdict
    return time.time() - seen.mtime < max(stale_after, 3 * seen.holder.heartbeat)


def _describe(holder: Holder) -> str:
    job = f", SLURM job {holder.job}" if holder.job else ""
    return f"process {holder.pid} on {holder.host}{job}"


def _claim_path(lock: Path, on: Holder) -> Path:
    return lock.with_name(f"{lock.name}.after-{on.nonce}")


def _create_exclusively(mine: Path, target: Path) -> bool:
    """Give the file ``mine`` the name ``target`` as well, unless that exists; exactly one caller gets True."""
    try:
        os.link(mine, target)
        return True
    except FileExistsError:
        # NFS may repeat a request and answer 'exists' to itself: two names of our file mean that it worked
        return mine.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(fd, mine.read_bytes())
    finally:
        os.close(fd)
    return True


def _read_lock(path: Path) -> _LockFile | None:
    """The holder in ``path`` and the file's time; None where there is no file.

    Opening makes a network file system ask its server again. A file without a readable holder (cut off while it was
    written) has an unknown holder, judged by age alone.
    """
    try:
        with path.open("rb") as file:
            data = file.read()
            stat = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    try:
        holder = decoded(data, _DECODER.decode)
    except Unreadable:
        holder = Holder(nonce=f"unreadable-{stat.st_ino}-{stat.st_mtime_ns}")
    return _LockFile(path, holder, stat.st_mtime)


def _server_time(probe: Path) -> float:
    """The file server's clock: the time it gives to a file touched now."""
    os.utime(probe)
    with probe.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime


def process_is_alive(holder: Holder) -> bool | None:
    """Whether the holder's process runs; None where this process cannot see it.

    That takes the same machine since the same boot, and the same pid namespace (containers).
    """
    mine = (socket.gethostname(), boot_id(), pid_namespace())
    if not mine[1] or (holder.host, holder.boot, holder.namespace) != mine:
        return None
    if birth := start_time(holder.pid):
        return birth == holder.birth
    if Path(f"/proc/{holder.pid}").exists():
        return False  # a zombie
    return False if exists(holder.pid) is False else None  # /proc hides other users' processes here
