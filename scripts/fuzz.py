"""Feed every reader of files with inputs that are wrong in some way, and say what a reader does that it should not.

    python scripts/fuzz.py --seeds 0:100000               # about an hour on two cores
    python scripts/fuzz.py --seeds 100000:200000          # goes on with others
    python scripts/fuzz.py --seeds 0:5000 --target meshes # one reader
    python scripts/fuzz.py --again results/fuzz/meshes-17 # one saved input, with its traceback

The seed decides the reader and the input, so a seed names a fault for ever (while the list of readers stays). A fault
is a traceback, a message that names no file, more than 10 s of computing (or 120 s in all), or more than 1 GB. What is
wrong is printed once for each place in the code; the inputs, with no more changes than needed, lie in --folder. Exit
code 1 if there is any.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import isosweep  # noqa: E402, F401, I001 - before torch
from tests.fuzz.targets import BY_NAME, TURNS, Target  # noqa: E402
from tests.fuzz.trial import Fault, changed, changes, good, judged, reduced, restored, saved  # noqa: E402

COMPUTING_S = 10.0
"""Of one input, in seconds of the processor: other work on the machine makes none a hang."""
WAITING_S = 120.0
"""Of one input by the clock, for a reader that waits for something."""
MOST_BYTES = 1 << 30
"""That the resident memory may grow by."""
STOPS = (signal.SIGINT, signal.SIGTERM)
"""Both end it with the figures so far."""
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Worker:
    """A process that reads the inputs of some seeds, one after the other."""

    seeds: range
    only: Target | None
    at: "Synchronized[int]" = field(init=False)
    """The seed that it reads."""
    process: Any = field(init=False)
    told: Connection = field(init=False)
    seen: int = -1
    base: int = 0
    """Its resident memory when it started."""
    began: tuple[float, float] = (0.0, 0.0)
    """Seconds by the clock and of the processor when the seed was first seen."""

    def __post_init__(self) -> None:
        self.start(self.seeds)

    def start(self, seeds: range) -> None:
        self.seeds = seeds
        context = multiprocessing.get_context("fork")  # what is imported and made already is shared
        self.at = context.Value("q", seeds.start)
        self.told, ours = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(seeds, self.only, self.at, ours), daemon=True)
        self.process.start()
        ours.close()
        self.seen, self.base = -1, _resident(self.process.pid)

    def overdue(self) -> str | None:
        """Why the input that it reads has to be given up; None while it may go on."""
        now, busy = time.monotonic(), _computed(self.process.pid)
        if self.at.value != self.seen:
            self.seen, self.began = self.at.value, (now, busy)
        if busy - self.began[1] > COMPUTING_S:
            return f"hang: it computes for more than {COMPUTING_S:g} s"
        if now - self.began[0] > WAITING_S:
            return f"hang: it waits for more than {WAITING_S:g} s"
        if _resident(self.process.pid) - self.base > 3 * MOST_BYTES:  # it would tell itself, if it lived
            return "memory: its process has grown without end"
        return None

    def give_up(self) -> None:
        self.process.kill()
        self.process.join()


def work(seeds: range, only: Target | None, at: "Synchronized[int]", told: Connection) -> None:
    """Read the inputs; tells (seed, name, files, fault) of each fault."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # libtiff and others print what they think of a picture
    for seed in seeds:
        at.value = seed
        target = only or TURNS[seed % len(TURNS)]
        before = _resident(os.getpid())
        _forget_peak()
        fault = judged(target, files := changed(target, changes(target, seed)))
        peak = _resident(os.getpid(), "VmHWM:")
        if fault is None and peak - before > MOST_BYTES:
            fault = Fault("memory", f"the memory grew by {(peak - before) >> 20} MiB\n")
        if fault is not None:
            told.send((seed, target.name, reduced(target, files, fault.kind), fault))
    at.value = seeds.stop
    told.close()


def _computed(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident(pid: int, what: str = "VmRSS:") -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # not Linux, or not allowed: then the peak is that of all inputs
        Path("/proc/self/clear_refs").write_text("5")


class Findings:
    """The faults so far, one of each place in full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()

    def add(self, seed: int, name: str, files: Any, fault: Fault) -> None:
        self.kinds[fault.kind] += 1
        self.places[f"{name} {fault.place}"] += 1
        if self.places[f"{name} {fault.place}"] == 1:
            place = self.folder / f"{name}-{seed}"
            saved(BY_NAME[name], files, place)
            (self.folder / f"{name}-{seed}.txt").write_text(fault.text)
            print(f"{name} seed {seed}: {fault.place}\n  saved in {place}", flush=True)


def fuzz(seeds: range, only: Target | None, jobs: int, folder: Path) -> int:
    """Read the inputs of all seeds; returns the exit code."""
    for target in [only] if only is not None else BY_NAME.values():
        good(target)  # made once, shared by the workers
    found = Findings(folder)
    began = noted = time.monotonic()
    workers: list[Worker] = []
    done = 0
    stopped = False
    try:
        for i in range(min(jobs, len(seeds))):
            workers.append(Worker(seeds[i::jobs], only))
        running = list(workers)
        while running:
            time.sleep(0.1)
            for worker in list(running):
                done += watch(worker, found)
                if worker.process is None:
                    running.remove(worker)
            if time.monotonic() - noted > 60:
                noted = time.monotonic()
                tried = done + sum(_tried(worker) for worker in running)
                print(f"  {tried} of {len(seeds)} inputs, {noted - began:.0f} s, {_told(found)}", flush=True)
    except KeyboardInterrupt:
        stopped = True
        for worker in workers:
            if worker.process is not None:
                done += _tried(worker)
                worker.give_up()
    print(f"{done} inputs in {time.monotonic() - began:.0f} s: {_told(found)}")
    if stopped:
        lowest = min((worker.at.value for worker in workers), default=seeds.start)
        print(f"stopped: --seeds {lowest}:{seeds.stop} goes on")
    for place, count in found.places.most_common():
        print(f"  {count:6} x {place}")
    return 1 if found.places or stopped else 0


def watch(worker: Worker, found: Findings) -> int:
    """Take what a worker has found, and end it where it does not come back. Returns the inputs of an ended one."""
    while True:
        try:
            if not worker.told.poll():
                break
            found.add(*worker.told.recv())
        except EOFError:
            break
    why = worker.overdue() if worker.process.is_alive() else None
    if worker.process.is_alive() and why is None:
        return 0
    worker.give_up()
    done, at = _tried(worker), worker.at.value
    if at >= worker.seeds.stop:
        worker.process = None
        return done
    if why is None and worker.process.exitcode == -signal.SIGTERM:
        raise KeyboardInterrupt  # whoever stops the command stops its group
    kind, _, text = (why or f"crash: its process ended with {worker.process.exitcode}").partition(": ")
    target = worker.only or TURNS[at % len(TURNS)]
    found.add(at, target.name, changed(target, changes(target, at)), Fault(kind, f"{text}\n"))
    worker.start(range(at + worker.seeds.step, worker.seeds.stop, worker.seeds.step))
    return done + 1


def _tried(worker: Worker) -> int:
    return len(range(worker.seeds.start, min(worker.at.value, worker.seeds.stop), worker.seeds.step))


def _told(found: Findings) -> str:
    kinds = ", ".join(f"{found.kinds[k]} {k}" for k in ("traceback", "unclear", "hang", "memory", "crash"))
    return f"{kinds} ({len(found.places)} places)"


def again(folder: Path) -> int:
    """Read one saved input again and print what its reader says."""
    target = BY_NAME[folder.name.rpartition("-")[0]]
    fault = judged(target, restored(target, folder))
    print("no fault" if fault is None else f"{fault.kind}\n{fault.text}")
    return 0 if fault is None else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0:1000", help="FIRST:END, without END")
    parser.add_argument("--target", choices=sorted(BY_NAME), help="one reader alone")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--folder", type=Path, default=Path("results/fuzz"), help="for the inputs that ended badly"
    )
    parser.add_argument("--again", type=Path, metavar="INPUT", help="read one saved input again")
    options = parser.parse_args()
    if options.again is not None:
        return again(options.again)
    first, colon, end = options.seeds.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)) or options.jobs < 1:
        parser.error("--seeds is FIRST:END with FIRST below END, and --jobs 1 or more")
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in STOPS:  # a shell that starts it in the background has it ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    only = None if options.target is None else BY_NAME[options.target]
    return fuzz(range(int(first), int(end)), only, options.jobs, options.folder)


if __name__ == "__main__":
    sys.exit(main())
