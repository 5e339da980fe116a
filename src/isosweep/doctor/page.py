"""The page: one line for each finding, in 80 columns, and the exit code."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

WIDTH = 80
STATES = ("ok", "-", "look", "BROKEN")
"""There; an optional thing that is not there; works, but worse than it could; must be put right."""
_STATE, _NAME = 7, 20


@dataclass(frozen=True)
class Finding:
    """What was found about one thing."""

    name: str
    state: str
    """One of `STATES`."""
    text: str
    """What was found; for an optional thing that is not there, what it would add."""
    todo: str = ""
    """What to do about it."""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.name}: a state is one of {', '.join(STATES)}, got '{self.state}'")
        if self.state == "BROKEN" and not self.todo:
            raise ValueError(f"{self.name} is broken, and the page does not say what to do")


Check = Callable[[], Iterable[Finding]]


def checked(name: str, check: Check) -> list[Finding]:
    """The findings of one check. One that cannot be made is a finding too, and the page goes on."""
    try:
        return list(check())
    except (
        Exception
    ) as error:  # the page is for machines where anything may fail, and each failure is told on it
        what = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        return [Finding(name, "look", f"could not be looked at ({what})")]


def lines(finding: Finding) -> list[str]:
    """The lines of one finding, none longer than `WIDTH` unless a word is (a path)."""
    margin = " " * (_STATE + _NAME)
    first = f"{finding.state:<{_STATE}}{finding.name:<{_NAME - 1}} "
    told = textwrap.wrap(
        finding.text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    todo = textwrap.wrap(
        f"-> {finding.todo}",
        WIDTH,
        initial_indent=margin,
        subsequent_indent=f"{margin}   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return told + (todo if finding.todo else [])


def verdict(findings: Iterable[Finding]) -> tuple[str, int]:
    """The last line of the page, and the exit code: 1 where something is broken."""
    broken = [one.name for one in findings if one.state == "BROKEN"]
    if broken:
        return f"{len(broken)} broken: {', '.join(broken)}. What to do stands after '->' above.", 1
    return "Nothing is broken.", 0
