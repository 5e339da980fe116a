"""The table of a mutation run and its survivors, with the notes that say why one is no defect."""

import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutants import Mutant

NOTES = Path("docs/benchmarks/mutation-notes.toml")


@dataclass(frozen=True)
class Verdict:
    job: str
    mutant: Mutant
    killed: bool | None
    """None: not tested yet."""
    how: str
    """The test that failed, 'timeout', or 'passed', and the seconds."""


@dataclass(frozen=True)
class Draw:
    """What the mutants were drawn from, and how they are tested."""

    seed: int
    patience: float
    """How many times as long as unmutated the tests may take, and 20 s."""
    files: Sequence[str] = ()
    """Those chosen, relative to src/isosweep; none where it was all of the packages."""
    name: str = ""
    """Of the chosen files, together."""

    @property
    def of_name(self) -> str:
        return f" of {self.name}" if self.files else ""

    def command(self, count: int) -> list[str]:
        """Lines of the report that say how to draw from the chosen files again."""
        if not self.files:
            return []
        told = f"--name {self.name} --sample {count} --seed {self.seed} --patience {self.patience:g}"
        files = " ".join(sorted(self.files))
        return ["```bash", f"python scripts/mutation.py {told} --files {files}", "```", ""]


def read_notes(root: Path) -> dict[str, str]:
    """Mutant id -> why it changes nothing that a test could see."""
    path = root / NOTES
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _row(name: str, verdicts: list[Verdict], notes: dict[str, str]) -> str:
    tested = [v for v in verdicts if v.killed is not None]
    killed = sum(bool(v.killed) for v in tested)
    slow = sum(v.how.startswith("timeout") for v in tested)
    alike = sum(not v.killed and v.mutant.id in notes for v in tested)
    real = len(tested) - alike
    score = f"{100 * killed / real:.1f} %" if real else "-"
    plain = f"{100 * killed / len(tested):.1f} %" if tested else "-"
    cells = (name, len(verdicts), len(tested), killed, slow, len(tested) - killed, alike, plain, score)
    return "| " + " | ".join(map(str, cells)) + " |"


def table(verdicts: list[Verdict], packages: list[str], notes: dict[str, str]) -> list[str]:
    head = (
        "package",
        "mutants",
        "tested",
        "killed",
        "of them by timeout",
        "survived",
        "equivalent",
        "killed, all",
    )
    lines = [
        "| " + " | ".join((*head, "killed, without equivalent")) + " |",
        "| --- |" + " ---: |" * len(head),
    ]
    for name in packages:
        lines.append(_row(name, [v for v in verdicts if v.mutant.package == name], notes))
    return [*lines, _row("**all**", verdicts, notes)]


def survivor(verdict: Verdict, notes: dict[str, str]) -> list[str]:
    mutant = verdict.mutant
    where = f" (`{mutant.where}`)" if mutant.where else ""
    note = notes.get(mutant.id)
    told = (
        f"Equivalent: {note}"
        if note
        else f'Not explained: a test, or a line `{mutant.id} = "..."` in the notes.'
    )
    return [
        f"**{mutant.id}** {mutant.path}:{mutant.line}{where}",
        "",
        "```diff",
        mutant.diff,
        "```",
        "",
        told,
        "",
    ]


def write_report(
    root: Path, verdicts: list[Verdict], packages: list[str], draw: Draw, operators: tuple[str, ...]
) -> str:
    """Write the report of ``draw``; returns the table to print and where it went."""
    notes = read_notes(root)
    alive = [v for v in verdicts if v.killed is False]
    rows = table(verdicts, packages, notes)
    # where files were chosen, a note may be of a mutant of another one
    unused = [] if draw.files else sorted(set(notes) - {v.mutant.id for v in alive})
    lines = [
        f"# Mutation testing{draw.of_name}",
        "",
        f"`python scripts/mutation.py` drew {len(verdicts)} mutants (seed {draw.seed}) from the code of the packages",
        "below and tested each with its own package's tests. A mutant is killed where a test fails, or the tests take",
        f"more than {draw.patience:g} times as long as without it and 20 s. Left alone are annotations, decorators,",
        "strings, what is logged or raised, and the defaults of signatures: a run takes its values from `conf/`.",
        "",
        *draw.command(len(verdicts)),
        *rows,
        "",
        f"Operators (cosmic-ray's, and four of `scripts/mutants.py`): {', '.join(o.split('/')[1] for o in operators)}.",
        "",
        "## Survivors",
        "",
        *(line for v in alive if v.mutant.id not in notes for line in survivor(v, notes)),
        "## Survivors that change nothing",
        "",
        *(line for v in alive if v.mutant.id in notes for line in survivor(v, notes)),
    ]
    date = datetime.date.today().isoformat()
    path = root / "docs" / "benchmarks" / f"{date}-mutation{draw.of_name.replace(' ', '-')}.md"
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    stale = f"\nnotes of mutants that are no survivors of this run: {', '.join(unused)}" if unused else ""
    return "\n".join(rows) + f"\n{len(alive)} survivors are listed in {path.relative_to(root)}{stale}"
