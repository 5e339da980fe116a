"""Mutation testing: small deliberate changes of the numerical code, each of which its package's own tests must notice.

    pip install -e '.[dev,mutation]'
    python scripts/mutation.py                     # go on with the session, or begin one: 300 mutants, two at a time
    python scripts/mutation.py --limit 20          # the first 20 of those that are left
    python scripts/mutation.py --again             # the survivors once more, after tests were added
    python scripts/mutation.py --restart           # a new session, after the code has changed
    python scripts/mutation.py --files models/nerf.py samplers/cells.py --sample 50   # of these files alone

A mutant is killed where a test fails or does not end. The session lies in results/mutation: cosmic-ray's sqlite file
and the copies of the checkout that are mutated in its place. Ctrl-C loses the mutants that are being tested, no more.
The report goes to docs/benchmarks/<date>-mutation.md; mutation-notes.toml beside it says why a survivor is no defect.
With --files both have a name of their own: results/mutation/<name>, docs/benchmarks/<date>-mutation-of-<name>.md.
"""

import argparse
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB  # pyright: ignore[reportMissingImports] - the extra `mutation`
from cosmic_ray.work_item import (  # pyright: ignore[reportMissingImports]
    TestOutcome,
    WorkerOutcome,
    WorkItem,
    WorkResult,
)

import mutants
from mutation_packages import PACKAGES, ROOT, own_tests, sources
from mutation_report import Draw, Verdict, read_notes, write_report

SESSION = ROOT / "results" / "mutation"
WORKER = ROOT / "scripts" / "mutation_worker.py"


def digest(paths: list[Path]) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(paths))).hexdigest()[:16]


class Session:
    """The sample, its results so far, and what the unmutated tests take."""

    def __init__(self, folder: Path, files: list[str], count: int, seed: int, restart: bool) -> None:
        self.folder, self.about, self.database = folder, folder / "session.json", folder / "session.sqlite"
        drawn_from = sources(files)
        # the operators, too: a mutant is kept as the number of its place among them
        code = digest([ROOT / "scripts" / "mutants.py", *(p for paths in drawn_from.values() for p in paths)])
        known: dict[str, Any] = json.loads(self.about.read_text()) if self.about.is_file() else {}
        if known and not restart and (known["code"], known["count"], known["seed"]) != (code, count, seed):
            raise SystemExit(
                f"the session in {folder} has {known['count']} mutants (seed {known['seed']}) of other code or "
                "another sample: --restart begins a new one (and forgets it)"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if restart:
            self.about.unlink(missing_ok=True)
            self.database.unlink(missing_ok=True)
        self.times: dict[str, float] = known.get("times", {})
        self.called: dict[str, dict[str, list[int]]] = known.get("called", {})
        """Test file -> source file -> first lines of the functions that it calls."""
        self.tested: dict[str, str] = known.get("tested", {})
        """Test file -> digest of it and its helpers when its time was taken."""
        self.settings = {"code": code, "count": count, "seed": seed}
        self.db = WorkDB(str(self.database), WorkDB.Mode.create)
        if not self.about.is_file():
            self.db.clear()
            drawn = mutants.sample(ROOT, drawn_from, count, seed)
            self.db.add_work_items(
                WorkItem.single(f"{k:04d}-{package}", spec) for k, (package, spec) in enumerate(drawn)
            )
        self.save()

    def save(self) -> None:
        kept = {**self.settings, "tested": self.tested, "times": self.times, "called": self.called}
        self.about.write_text(json.dumps(kept) + "\n")

    def verdicts(self) -> list[Verdict]:
        """Every mutant of the sample with its result, in the order of the draw."""
        done = dict(self.db.results)
        every = []
        for item in sorted(self.db.work_items, key=lambda item: item.job_id):
            made = mutants.make(ROOT, item.job_id[5:], item.mutations[0])
            assert made is not None, "the sample has none that is no mutant"
            result = done.get(item.job_id)
            killed = None if result is None else result.is_killed
            every.append(Verdict(item.job_id, made, killed, "" if result is None else result.output or ""))
        return every

    def record(self, verdict: Verdict) -> None:
        outcome = TestOutcome.KILLED if verdict.killed else TestOutcome.SURVIVED
        result = WorkResult(WorkerOutcome.NORMAL, verdict.how, outcome, verdict.mutant.diff)
        self.db.set_result(verdict.job, result)


def copy_tree(tree: Path) -> None:
    """Make ``tree`` a copy of the checkout; what is alike stays, and so do the kernels compiled beside it."""
    asked = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split("\0")
    names = {name for name in listed if name and (ROOT / name).exists()}
    for name in names:
        here, there = ROOT / name, tree / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.is_symlink():
            there.unlink(missing_ok=True)
            there.symlink_to(here.readlink())
        elif not there.is_file() or there.read_bytes() != here.read_bytes():
            shutil.copy2(here, there)
    for there in (*(tree / "src").rglob("*.py"), *(tree / "tests").rglob("*.py")):
        if str(there.relative_to(tree)) not in names:
            there.unlink()


class Worker:
    """A copy of the checkout, and the process that runs its tests."""

    def __init__(self, folder: Path, number: int) -> None:
        self.tree, self.scratch = folder / f"tree-{number}", folder / f"scratch-{number}"
        self.tree.mkdir(parents=True, exist_ok=True)
        copy_tree(self.tree)
        # one thread: two mutants at once on two cores, and a fork must find none
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
        )
        data = os.environ.get("ISOSWEEP_DATA") or str(
            ROOT.parent / "shared" / "data"
        )  # as in tests/conftest.py
        environment = {
            **os.environ,
            **threads,
            "PYTHONPATH": f"{self.tree / 'src'}{os.pathsep}{self.tree}",
            "ISOSWEEP_DATA": data,
            # a mutant of the same size within the same second would leave its byte code to the next one
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(folder / f"log-{number}.txt")],
            cwd=self.tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the script, which ends the workers
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.tree} ended with code {self.process.wait()}: see above")
        return json.loads(line)

    def pytest(self, package: str, paths: list[str], timeout: float, trace: bool = False) -> dict[str, Any]:
        """Run tests in the copy; the answer is described in mutation_worker.py."""
        assert self.process.stdin is not None
        without = [f"--deselect=tests/{name}" for name in PACKAGES[package].without]
        plain = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--basetemp", str(self.scratch)]
        asked = {"arguments": [*plain, *without, *paths], "timeout": timeout, "trace": trace}
        print(json.dumps(asked), file=self.process.stdin)
        self.process.stdin.flush()
        return self._read()

    def test(self, mutant: mutants.Mutant, order: list[str], timeout: float) -> tuple[bool, str]:
        """Whether the tests kill a mutant, and how."""
        place = self.tree / mutant.path
        kept, times = place.read_bytes(), place.stat()
        try:
            place.write_text(mutant.source, encoding="utf-8")
            found = self.pytest(mutant.package, order, timeout)
        finally:
            place.write_bytes(kept)
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))  # compiled code knows it by its time
        code = found["code"]
        if code in (4, 5):
            raise RuntimeError(f"pytest found no test for {mutant.package} (code {code}):\n{found['tail']}")
        how = "timeout" if code is None else f"signal {-code}" if code < 0 else _first_failure(found["tail"])
        return code != 0, f"{how} ({found['seconds']:.1f} s)"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def _first_failure(tail: str) -> str:
    found = [line for line in tail.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return found[0].split(" - ")[0] if found else "collection" if "error" in tail.lower() else "passed"


def measure(worker: Worker, session: Session, names: list[str]) -> None:
    """Seconds that each test file takes unmutated; raises SystemExit where one fails."""
    helpers = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_")]
    now = {path: digest([ROOT / path, *helpers]) for name in names for path in own_tests(name)}
    wanted = [(n, path) for n in names for path in own_tests(n) if session.tested.get(path) != now[path]]
    if not wanted:
        return
    print(
        "the unmutated tests, once for the compiler and for what they call, once for the clock:", flush=True
    )
    for name, path in wanted:
        for trace in (True, False):
            found = worker.pytest(name, [path], 1800, trace)
            if found["code"] not in (0, 5):
                raise SystemExit(f"{path} fails without any mutation:\n{found['tail']}")
            if trace:
                session.called[path] = found["called"]
        session.times[path], session.tested[path] = found["seconds"], now[path]
        session.save()
        print(f"  {path:44} {found['seconds']:6.1f} s", flush=True)


def order_of(mutant: mutants.Mutant, session: Session) -> list[str]:
    """The test files of its package that call the mutated function: those named like its module first, then quick ones.

    Code outside of functions runs on import, so every test file sees it.
    """
    first, last = mutant.function
    # a file that was added since the start waits for the next one
    known = [path for path in own_tests(mutant.package) if path in session.called]
    reached = [
        path
        for path in known
        if last == 0 or any(first <= line <= last for line in session.called[path].get(mutant.path, ()))
    ]
    stem = Path(mutant.path).stem
    return sorted(reached, key=lambda path: (stem not in Path(path).stem, session.times[path]))


def run(session: Session, waiting: list[Verdict], workers: int, patience: float) -> None:
    """Test the mutants, each result into the session as it comes. ``patience``: as ``Draw`` has it."""
    names = sorted({v.mutant.package for v in waiting})
    first = Worker(session.folder, 0)
    pool = [first]
    try:
        measure(first, session, names)
        for k in range(1, min(workers, len(waiting))):
            # with the kernels that the first has compiled: they are known by path, size and time
            tree = session.folder / f"tree-{k}"
            shutil.rmtree(tree, ignore_errors=True)
            shutil.copytree(first.tree, tree, symlinks=True)
            pool.append(Worker(session.folder, k))
        left: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        done: queue.SimpleQueue[Verdict | Exception] = queue.SimpleQueue()
        for verdict in waiting:
            left.put(verdict)

        def work(worker: Worker) -> None:
            try:
                while not left.empty():
                    verdict = left.get_nowait()
                    order = order_of(verdict.mutant, session)
                    timeout = 20 + patience * sum(session.times[path] for path in order)
                    killed, how = False, "no test of the package calls it"
                    if order:
                        killed, how = worker.test(verdict.mutant, order, timeout)
                    done.put(Verdict(verdict.job, verdict.mutant, killed, how))
            except queue.Empty:
                pass  # the other one took the last
            except Exception as error:  # to the main thread, which ends the run with it
                done.put(error)

        began = time.monotonic()
        for worker in pool:
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        for k in range(1, len(waiting) + 1):
            verdict = done.get()
            if isinstance(verdict, Exception):
                raise verdict
            session.record(verdict)
            mutant = verdict.mutant
            pace = (time.monotonic() - began) / k
            print(
                f"[{k}/{len(waiting)}] {'killed  ' if verdict.killed else 'SURVIVED'} {mutant.path}:{mutant.line} "
                f"{mutant.operator.split('/')[1]}: {verdict.how}; {pace * (len(waiting) - k) / 60:.0f} min left",
                flush=True,
            )
            if not verdict.killed:
                print(mutant.diff, flush=True)
    finally:
        for worker in pool:
            worker.close()


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--sample", type=int, default=300, help="mutants of the session (default 300)")
    about.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    about.add_argument("--workers", type=int, default=2, help="mutants at once, a core each (default 2)")
    about.add_argument("--limit", type=int, help="test no more than so many of those that are left")
    about.add_argument(
        "--package", choices=PACKAGES, action="append", help="only its mutants; may be repeated"
    )
    about.add_argument(
        "--files", nargs="+", default=[], help="draw from these files alone, relative to src/isosweep"
    )
    about.add_argument("--name", default="files", help="of the session and report of --files (default files)")
    about.add_argument(
        "--patience", type=float, default=3, help="slowdown of the tests that is a timeout (default 3)"
    )
    about.add_argument("--again", action="store_true", help="test the unexplained survivors once more")
    about.add_argument("--restart", action="store_true", help="forget the session and begin a new one")
    about.add_argument("--report", action="store_true", help="only print and write the report")
    chosen = about.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell's background job would ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    folder = SESSION / chosen.name if chosen.files else SESSION
    session = Session(folder, chosen.files, chosen.sample, chosen.seed, chosen.restart)
    notes = read_notes(ROOT)
    waiting = [
        v
        for v in session.verdicts()
        if (v.killed is None or (chosen.again and v.killed is False and v.mutant.id not in notes))
        and (chosen.package is None or v.mutant.package in chosen.package)
    ]
    if waiting[: chosen.limit] and not chosen.report:
        try:
            run(session, waiting[: chosen.limit], chosen.workers, chosen.patience)
        except KeyboardInterrupt:
            print("stopped; the same command goes on")
            return 130
    print(
        write_report(
            ROOT,
            session.verdicts(),
            list(sources(chosen.files)),
            Draw(chosen.seed, chosen.patience, chosen.files, chosen.name),
            tuple(mutants.COSMIC_RAY) + tuple(mutants.OWN),
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
