"""The dated page of an acceptance on a card, from what its parts have found; and whether all of it is well."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

Parts = Mapping[str, Mapping[str, Any]]
"""Part -> its facts (bench/card.py), or {"problem": text} if the part did not end."""


def problems(parts: Parts, wanted: tuple[str, ...]) -> list[str]:
    """What is wrong: parts that did not end or were not tried, wrong kernels, failed tests, failed runs."""
    found = [f"{name}: not run" for name in wanted if name not in parts]
    found += [f"{name}: {facts['problem']}" for name, facts in parts.items() if "problem" in facts]
    tests = parts.get("tests", {})
    found += [f"kernel {text}" for text in tests.get("wrong", [])]
    found += [f"test {text}" for text in tests.get("failed", [])]
    found += [f"beside {text}" for text in parts.get("compare", {}).get("failed", [])]
    for name, run in parts.get("train", {}).items():
        if isinstance(run, Mapping) and (run.get("problem") or run.get("status", "finished") != "finished"):
            found.append(f"training of {name}: {run.get('problem') or run['status']}")
    return found


def page(parts: Parts, wanted: tuple[str, ...], card: str, machine: str, day: date) -> str:
    """Markdown with one section per part, and the problems first."""
    lines = [f"# {card}, {day.isoformat()}", "", f"{machine}. Written by `scripts/gpu_check.py`.", ""]
    wrong = problems(parts, wanted)
    lines += ["**Nothing is wrong.**"] if not wrong else ["**Wrong:**", "", *(f"- {text}" for text in wrong)]
    for name in wanted:
        if name in parts and "problem" not in parts[name]:
            lines += ["", f"## {TITLES[name]}", "", *SECTIONS[name](parts[name])]
    return "\n".join([*lines, ""])


def _tests(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Backend `{facts['backend']}`: {facts['compared']} outputs and gradients compared with the reference in "
        f"float64; largest relative error {facts['largest_error']:.1e}."
    )
    yield ""
    yield f"pytest: {facts['pytest']}"


def _kernels(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"Limits measured in the same process: {facts['limits']}."
    yield ""
    yield from _rows(facts["rows"])


def _steps(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"About {facts['samples']} samples a step."
    yield ""
    yield from _rows(facts["rows"])
    for model, ways in facts["loop_ms"].items():
        yield ""
        times = ", ".join(f"{way} {ms:.2f} ms" for way, ms in ways.items())
        yield f"`{model}`, the training loop itself: {times} a step."
    for model, found in facts["profiles"].items():
        yield ""
        yield (
            f"`{model}` under the profiler: {found['wall']:.2f} ms a step, of which the device works "
            f"{found['busy']:.2f} ms ({100 * found['idle_share']:.0f} % idle); {found['launches']:.0f} launches and "
            f"{found['host_reads']:.1f} reads by the host a step; {facts['memory_mib'][model]:.0f} MiB beyond model "
            "and optimiser."
        )
        yield ""
        yield "| what takes longest | ms a step |"
        yield "| --- | --- |"
        for name, ms in found["longest"]:
            yield f"| `{name[:90].replace('|', '/')}` | {ms:.3f} |"


def _train(facts: Mapping[str, Any]) -> Iterator[str]:
    for name, run in facts.items():
        if "skipped" in run:
            yield f"- {name}: skipped, {run['skipped']}"
            continue
        if "scores" not in run:
            continue  # told among the problems
        peak = "" if run["cuda_peak_mib"] is None else f", peak {run['cuda_peak_mib']:.0f} MiB on the card"
        yield (
            f"- {name} (`{run['command']}`): {run['steps']} steps in {run['train_s']:.0f} s of training, "
            f"{run['total_s']:.0f} s in all{peak}; {run['device']}, {run['backend']}"
        )
        values = {k: v for k, v in run["scores"].items() if v is not None}
        yield f"  {', '.join(f'{k} {v:.4g}' for k, v in values.items()) or 'no scores'}"


def _compare(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["rows"]:
        yield from _rows(facts["rows"])
        yield ""
    for text in facts["absent"]:
        yield f"- {text}"


def _rows(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| what | size | implementation | ms | ratio |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        for way, (ms, ratio) in row["ms_and_ratio"].items():
            yield f"| {row['name']} | {row['size']} | {way} | {ms:.3f} | {ratio:.2f} |"


TITLES = {
    "tests": "Kernels against the reference",
    "kernels": "Times of kernels",
    "steps": "Times of training steps",
    "train": "Training",
    "compare": "Beside other libraries",
}
SECTIONS = {"tests": _tests, "kernels": _kernels, "steps": _steps, "train": _train, "compare": _compare}
