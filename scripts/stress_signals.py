"""Stop tiny runs at random instants with Ctrl-C, SIGTERM, SIGUSR2 and SIGKILL, and check what is left.

    python scripts/stress_signals.py --trials 50 --folder /tmp/stress

After every stop: the record reads, the checkpoint loads, no process is left over. Every run is started again
until it is finished, and its weights must then equal those of a run that was never stopped, bit for bit. Exit code 1
if one trial finds otherwise.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from stressed import RUN, differing, parsed, parser, weights

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL)


def command(root: Path, seed: int) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), *RUN, f"seed={seed}", f"run.root={root}"]


def start(root: Path, seed: int, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            command(root, seed), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def members(session: int) -> list[int]:
    """Processes of a session that still live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def trial(root: Path, seed: int, rng: random.Random, seconds: float, log: Path) -> list[str]:
    """Stop a run at random instants and start it again until it is finished; what was found wrong."""
    from isosweep.record import find_runs, read_record

    wrong: list[str] = []
    begun = 0
    for attempt in range(4):
        process = start(root, seed, log)
        number = rng.choice(SIGNALS)
        after = rng.uniform(0.05, 1.1 * seconds)
        try:
            process.wait(after if attempt < 3 else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                wrong.append(f"{number.name} after {after:.2f} s: still there a minute later")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        time.sleep(0.5)
        left = members(process.pid)
        if left:
            wrong.append(f"{number.name} after {after:.2f} s: processes left over: {left}")
            os.killpg(process.pid, signal.SIGKILL)
        for folder in find_runs(root):
            record = read_record(folder)  # raises where it is corrupt
            if (folder / "last.pt").exists():
                weights(folder)
            if process.returncode == 0 and record.status != "finished":
                wrong.append(f"exit code 0 and status {record.status}")
            should_say = len(record.attempts) > begun and process.returncode not in (0, -signal.SIGKILL)
            begun = len(record.attempts)
            if should_say and record.status not in ("interrupted", "preempted", "finished"):
                wrong.append(
                    f"{number.name} after {after:.2f} s: status {record.status}, code {process.returncode}"
                )
        print(
            f"  attempt {attempt + 1}: {number.name} at {after:5.2f} s, exit {process.returncode}", flush=True
        )
        if process.returncode == 0:
            return wrong
    return [*wrong, f"not finished after four starts, exit {process.returncode}"]


def main() -> int:
    made = parser(__doc__, "instants and signals")
    made.add_argument("--trials", type=int, default=50)
    options = parsed(made)
    from isosweep.record import find_runs

    rng = random.Random(options.seed)
    began = time.monotonic()
    straight = options.folder / "straight"
    if start(straight, 0, options.folder / "straight.log").wait() != 0:
        print(
            f"error: the run that is never stopped failed: {options.folder / 'straight.log'}", file=sys.stderr
        )
        return 1
    seconds = time.monotonic() - began
    truth = weights(find_runs(straight)[0])
    failures = 0
    for number in range(options.trials):
        root = options.folder / f"trial-{number}"
        print(f"trial {number + 1} of {options.trials}", flush=True)
        wrong = trial(root, 0, rng, seconds, options.folder / f"trial-{number}.log")
        if not wrong:
            wrong = differing(truth, weights(find_runs(root)[0]))
        for text in wrong:
            print(f"  WRONG: {text}", flush=True)
        failures += bool(wrong)
    print(f"{options.trials} trials, {failures} with something wrong, {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
