"""Experiment trackers behind one wrapper that can never stop or slow a run.

Everything a tracker does (import, start, log, finish) happens in one background thread fed by a
bounded queue. Whatever goes wrong there is said once, kept in ``Tracker.degraded`` for the
record, and the run goes on: its own files are the truth, the tracker is a copy.
"""

import configparser
import contextlib
import logging
import netrc
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from isosweep.record import TrackerRecord
from isosweep.settings import TrackerSettings

log = logging.getLogger(__name__)

QUEUE_LENGTH = 256
MESH_LIMIT_BYTES = 25_000_000
CONFIG_DEPTH = 3
MODES = ("auto", "online", "offline", "disabled")


@runtime_checkable
class Backend(Protocol):
    """One tracker. All methods run in the wrapper's thread and may raise or hang as they like."""

    name: str

    def start(self) -> None: ...
    def where(self) -> tuple[str | None, str]:
        """The run's url, if it has one, and one line on how to look at it."""
        ...

    def log(self, step: int, scalars: Mapping[str, float]) -> None: ...
    def image(self, name: str, array: np.ndarray, step: int | None) -> None: ...
    def mesh(self, name: str, path: Path) -> None: ...
    def summary(self, values: Mapping[str, Any]) -> None: ...
    def finish(self, exit_code: int) -> None: ...
    def kill(self) -> None:
        """Make whatever hangs fail at once; called from another thread."""
        ...

    def close(self) -> None:
        """After a failure: leave nothing behind that would act, or wait, at the interpreter's exit."""
        ...


class Tracker:
    """Hands calls to a backend's thread; without a backend every call is a no-op.

    No method raises or waits, but ``finish``, which waits at most ``timeout`` seconds.
    """

    def __init__(self, backend: Backend | None, *, run_key: str = "", timeout: float = 30.0) -> None:
        self._backend = backend
        self._run_key = run_key
        self._timeout = timeout
        self._dropped = 0
        self._dead: str | None = None
        self._notes: list[str] = []
        self._url: str | None = None
        self._hint = "" if backend is None else f"{backend.name} is starting"
        self._pending: tuple[int, dict[str, float]] | None = None
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._thread: threading.Thread | None = None
        if backend is not None:
            self._thread = threading.Thread(target=self._work, args=(backend,), name="tracker", daemon=True)
            self._thread.start()

    @property
    def degraded(self) -> str | None:
        """Why the tracker's copy is incomplete, None while it is whole."""
        parts = [self._dead] if self._dead else []
        parts += self._notes
        if self._dropped:
            parts.append(f"{self._dropped} calls dropped because the tracker was too slow")
        return "; ".join(parts) or None

    @property
    def hint(self) -> str:
        """One line on how to look at the run or upload it; empty without a tracker."""
        return self._hint

    @property
    def info(self) -> TrackerRecord:
        """What belongs into the run's record."""
        if self._backend is None:
            return TrackerRecord(name="none")
        return TrackerRecord(name=self._backend.name, id=self._run_key, url=self._url, degraded=self.degraded)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars of one step; several calls for the same step become one."""
        if self._backend is None:
            return
        if self._pending is not None and self._pending[0] == step:
            self._pending[1].update(scalars)
            return
        self._flush()
        self._pending = (step, dict(scalars))

    def image(self, name: str, array: UInt8[np.ndarray, "h w 3"], step: int | None = None) -> None:
        """One picture under ``name``, e.g. 'render/000'."""
        if (backend := self._backend) is not None:
            copy = array.copy()  # the caller may reuse its buffer before the thread gets to it
            self._put(lambda: self._soft(f"image {name}", lambda: backend.image(name, copy, step)))

    def mesh(self, name: str, path: Path) -> None:
        """The mesh file at ``path``, read when its turn comes; one above 25 MB is left out."""
        if (backend := self._backend) is not None:
            self._put(lambda: self._soft(f"mesh {path.name}", lambda: backend.mesh(name, path)))

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final values, e.g. its scores; None is left out."""
        if (backend := self._backend) is not None:
            kept = {k: v for k, v in values.items() if v is not None}
            self._put(lambda: backend.summary(kept))

    def finish(self, exit_code: int = 0) -> None:
        """Hand over what is queued and end the run there; a tracker that hangs is left behind."""
        thread, self._thread = self._thread, None
        if thread is None or self._backend is None:
            return
        backend = self._backend
        self._flush()
        self._put(lambda: backend.finish(exit_code), needed=True)
        self._put(None, needed=True)
        thread.join(self._timeout)
        if thread.is_alive():
            self._die(f"did not finish within tracker.timeout={self._timeout:g} s")
            backend.kill()
            thread.join(2.0)

    def _flush(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and (backend := self._backend) is not None:
            self._put(lambda: backend.log(*pending))

    def _put(self, call: Callable[[], None] | None, *, needed: bool = False) -> None:
        if self._dead and not needed:
            return
        try:
            self._queue.put(call, timeout=self._timeout if needed else None, block=needed)
        except queue.Full:
            self._dropped += 1

    def _work(self, backend: Backend) -> None:
        self._safely("start", lambda: self._begin(backend))
        while (call := self._queue.get()) is not None:
            if not self._dead:
                self._safely("log", call)
        if self._dead:
            self._safely("close", backend.close)

    def _begin(self, backend: Backend) -> None:
        backend.start()
        self._url, self._hint = backend.where()
        log.info("%s", self._hint)

    def _safely(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # whatever a tracker raises, SystemExit too, stays in this thread
            self._die(f"{what} failed: {_first_line(error)}")

    def _soft(self, what: str, call: Callable[[], None]) -> None:
        """Pictures and meshes are extras: one that fails costs itself, not the scores after it."""
        try:
            call()
        except Exception as error:  # as in _safely
            self._notes.append(f"{what} left out: {_first_line(error)}")
            log.warning("tracker: %s", self._notes[-1])

    def _die(self, reason: str) -> None:
        if self._dead is None and self._backend is not None:
            self._dead = f"{self._backend.name} {reason}"
            log.warning("%s; the run goes on without it, its own files are complete", self._dead)


def open_tracker(
    settings: TrackerSettings,
    *,
    run_key: str,
    run_dir: Path,
    name: str,
    group: str | None,
    job_type: str,
    tags: list[str],
    config: dict[str, Any],
) -> Tracker:
    """The tracker that ``settings`` names, started in the background; returns at once.

    Raises ValueError for a name or a mode that does not exist, nothing else.
    """
    if settings.mode not in MODES:
        raise ValueError(f"no tracker.mode={settings.mode!r}: there are {', '.join(MODES)}")
    if settings.name not in ("wandb", "none"):
        raise ValueError(f"no tracker {settings.name!r}: there are wandb and none")
    if settings.name == "none" or settings.mode == "disabled":
        return Tracker(None)
    about = {"name": name, "group": group, "job_type": job_type, "tags": tags, "config": shallow(config)}
    backend = Wandb(settings, run_key=run_key, run_dir=run_dir, about=about)
    return Tracker(backend, run_key=run_key, timeout=settings.timeout)


class Wandb:
    """Weights & Biases: online where the user is logged in, else offline, never a question."""

    name = "wandb"

    def __init__(
        self, settings: TrackerSettings, *, run_key: str, run_dir: Path, about: dict[str, Any]
    ) -> None:
        self._settings = settings
        self._run_key = run_key
        self._run_dir = run_dir
        self._about = about
        self._run: Any = None

    def start(self) -> None:
        asked = self._settings.mode
        if asked == "auto":
            asked = os.environ.get("WANDB_MODE", "auto")
        if asked == "online" and not logged_in():
            log.warning("tracker.mode=online, but nobody is logged in: run 'wandb login'; logging offline")
        if asked == "offline" or not logged_in():
            self._run = self._init("offline")
        else:
            try:
                self._run = self._init("online")
            except (
                Exception
            ) as error:  # any of wandb's many ways to have no server: the copy on disk is as good
                log.warning("wandb cannot log online (%s); logging offline", _first_line(error))
                self.close()  # the failed attempt holds the run's id
                self._run = self._init("offline")
        # a requeued run's offline segments all start at wandb's step 0: the run's own step is the axis
        self._run.define_metric("*", step_metric="step")

    def where(self) -> tuple[str | None, str]:
        if self._run.settings.mode == "online":
            return self._run.url, f"W&B run: {self._run.url}"
        folder = Path(self._run.settings.sync_dir)
        return None, f"W&B offline run: 'wandb sync {folder}' uploads it (once logged in with 'wandb login')"

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({"step": step, **scalars})

    def image(self, name: str, array: np.ndarray, step: int | None) -> None:
        import wandb

        self._run.log({name: wandb.Image(array), **({} if step is None else {"step": step})})

    def mesh(self, name: str, path: Path) -> None:
        import trimesh
        import wandb

        with tempfile.TemporaryDirectory(prefix=".tracker-", dir=self._run_dir) as folder:
            glb = Path(folder) / "mesh.glb"
            trimesh.load_mesh(path).export(glb)
            size = glb.stat().st_size
            if size > MESH_LIMIT_BYTES:
                raise ValueError(f"{size / 1e6:.0f} MB, wandb takes {MESH_LIMIT_BYTES / 1e6:.0f} MB at most")
            self._run.log({name: wandb.Object3D(str(glb))})

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def finish(self, exit_code: int) -> None:
        import wandb

        self._run.finish(exit_code=exit_code)
        wandb.teardown()  # here, where the time is bounded, instead of in wandb's exit hook

    def kill(self) -> None:
        for pid in service_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        import wandb

        self.kill()
        with contextlib.suppress(BaseException):  # its service is gone: it complains after it has cleaned up
            wandb.teardown()

    def _init(self, mode: str) -> Any:
        import wandb

        options = wandb.Settings(
            console="off",
            silent=True,
            quiet=True,
            symlink=False,
            disable_code=True,
            init_timeout=0.5 * self._settings.timeout,  # an offline start must still fit in
            finish_timeout=0.8 * self._settings.timeout,  # gives up by itself before it is killed
        )
        wandb.setup(settings=options)  # or the login speaks before the run's settings hold
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            id=self._run_key,
            resume="allow",
            dir=str(self._run_dir),
            mode=mode,  # type: ignore[arg-type]
            reinit="create_new",
            settings=options,
            **self._about,
        )


def logged_in() -> bool:
    """Whether wandb has a key for its server, from the environment or netrc; asks nobody, reads no network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(_server()).hostname or ""
    asked = os.environ.get("NETRC")
    files = [Path(asked)] if asked else [Path("~/.netrc"), Path("~/_netrc")]
    for file in files:
        try:
            if netrc.netrc(file.expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError, RuntimeError):
            continue  # no such file, not one of ours, or no home: not logged in through it
    return False


def service_processes() -> list[int]:
    """wandb's service processes among this process's children (Linux; elsewhere none is found)."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it ended while the list was read
        if name.startswith("wandb-core") and int(rest.split()[1]) == os.getpid():
            found.append(int(folder.name))
    return found


def shallow(config: Mapping[str, Any], depth: int = CONFIG_DEPTH) -> dict[str, Any]:
    """The same config nested at most ``depth`` deep: keys below are joined with dots."""
    if depth > 1:
        return {str(k): shallow(v, depth - 1) if isinstance(v, Mapping) else v for k, v in config.items()}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": v for inner, v in shallow(value, 1).items()}
        else:
            flat[str(key)] = value
    return flat


def _server() -> str:
    """Where wandb would log in: the environment, its settings file, the public server."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    parser = configparser.ConfigParser()
    try:
        parser.read(Path(folder).expanduser() / "settings")
        return parser.get("default", "base_url")
    except (configparser.Error, RuntimeError, UnicodeDecodeError):
        return "https://api.wandb.ai"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
