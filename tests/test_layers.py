"""The rules of the house: which room imports which, who sees which library, and the picture of it.

The rules about rooms stand in the rooms' own docstrings (``May import``, tests/support/house.py); the rules about
libraries stand here. Every complaint is one line that names the file, the import, and what to do.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.support import house
from tests.support.house import File, House

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MOST_LINES = 400

SEEN_BY: dict[tuple[str, ...], tuple[str, ...]] = {
    ("hydra", "omegaconf"): ("config", "app", "launchers", "bench", "hydra_plugins"),
    ("numba", "llvmlite", "triton", "tinycudann"): ("ops",),
    ("nerfacc",): ("bench", "samplers.with_nerfacc"),
    ("pycolmap",): ("prepare.sfm",),
}
"""Libraries -> the rooms, or modules of a room, that may import them: other code goes through those."""
TORCH_FREE = ("errors", "runtime", "record", "report", "config", "launchers", "hydra_plugins", "download")
"""Rooms that answer in a moment: the command line, tables, lists and plans of runs."""


@cache
def ours() -> House:
    return house.read(ROOT / "src")


def joined(complaints: Iterator[str]) -> str:
    return "\n".join(complaints)


def forbidden(built: House) -> Iterator[str]:
    """Imports that the importing room's docstring does not allow. Where it says nothing, ``unclear`` complains."""
    for file in built.files.values():
        for one, other in built.between(file):
            for speaker in built.speakers(file):
                allowed = speaker.may_import or frozenset()
                if other.room not in {None, file.room, *allowed}:
                    yield (
                        f"{file.path}:{one.line} imports {one.target}, and {speaker.path} says 'May import: "
                        f"{', '.join(sorted(allowed)) or 'nothing'}'. Move what both need into a room below them; or, "
                        f"if {file.room} is to know {other.room}, add it there and paste the new picture into "
                        "docs/architecture.md"
                    )


def unclear(built: House) -> Iterator[str]:
    """Docstrings of rooms that miss the line, or name what is no room, the room itself, or what nobody imports."""
    faces = built.faces
    for room, face in faces.items():
        if face.may_import is None:
            yield (
                f"{face.path} has no line 'May import: ...' in its docstring: say in the first line what {room} is, "
                "and in that line which rooms its files may import ('nothing' for none)"
            )
    imported: dict[str, set[str | None]] = {}
    for file in built.files.values():
        for speaker in built.speakers(file):
            imported.setdefault(speaker.module, set()).update(o.room for _, o in built.between(file))
    for file in built.files.values():
        if file.may_import is not None and file.module not in imported:
            yield f"{file.path} says 'May import': only packages and rooms do, so say it in the package"
            continue
        for name in sorted(file.may_import or ()):
            if name == file.room:
                yield f"{file.path} says 'May import: {name}', but files of one room always may: take it out"
            elif name not in faces:
                yield f"{file.path} says 'May import: {name}', but that is no room: take it out"
            elif name not in imported[file.module]:
                yield f"{file.path} says 'May import: {name}', but no file there imports it: take it out"


def private_libraries(built: House) -> Iterator[str]:
    """Imports of a library outside the places that may see it."""
    for file in built.files.values():
        here = file.module.removeprefix(f"{house.PACKAGE}.")
        for one in file.imports:
            library = one.target.split(".")[0]
            for libraries, places in SEEN_BY.items():
                if library in libraries and not any(f"{here}.".startswith(f"{p}.") for p in places):
                    yield (
                        f"{file.path}:{one.line} imports {library}, which only {', '.join(places)} may: "
                        "take the function that needs it there"
                    )
            if library == "torch" and file.room in TORCH_FREE:
                yield (
                    f"{file.path}:{one.line} imports torch, and {file.room} stays without it: "
                    "take the function that needs it to another room"
                )


def ways_to_torch(built: House) -> Iterator[str]:
    """Files of torch-free rooms that load torch through what they import at their top."""
    for start in (file for file in built.files.values() if file.room in TORCH_FREE):
        came: dict[str, str | None] = {start.module: None}
        todo = [start]
        while todo:
            file = todo.pop()
            if any(one.when_loaded and one.target.split(".")[0] == "torch" for one in file.imports):
                way, module = ["torch"], file.module
                while module is not None:
                    way, module = [module, *way], came[module]
                yield (
                    f"{start.path} loads torch: {' -> '.join(way)}. Import {way[1]} inside the function that needs it"
                )
                break
            for other in loaded_by(built, file):
                if other.module not in came:
                    came[other.module] = file.module
                    todo.append(other)


def loaded_by(built: House, file: File) -> Iterator[File]:
    """What loading a file loads: what it imports at its top, and the packages around that."""
    for one, other in built.between(file):
        module = other.module
        while one.when_loaded and module:
            yield built.files[module]
            module = module.rpartition(".")[0]


def circles(built: House) -> Iterator[str]:
    for graph, what in ((built.rooms, "rooms"), (built.modules, "files")):
        found = house.circle(graph)
        if found:
            yield (
                f"{what} import each other in a circle: {' -> '.join(found)}. Move what they share into a file below "
                "them, or hand one of them what it needs as an argument"
            )


def long_files(built: House) -> Iterator[str]:
    for file in built.files.values():
        if file.lines > MOST_LINES:
            yield f"{file.path} has {file.lines} lines, more than {MOST_LINES}: it holds a second idea, so split it"


def relative_imports(built: House) -> Iterator[str]:
    for file in built.files.values():
        for one in file.imports:
            if one.target.startswith("."):
                yield f"{file.path}:{one.line} imports {one.target}: write the whole name, so that a search finds it"


RULES = (forbidden, unclear, private_libraries, ways_to_torch, circles, long_files, relative_imports)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    complaints = joined(rule(ours()))
    assert not complaints, f"\n{complaints}"


def test_composition_answers_without_torch():
    code = (
        "import sys, isosweep.config, isosweep.record, isosweep.report.command; "
        "heavy = {'torch', 'numba', 'wandb', 'trimesh', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_picture_shows_the_house_as_it_is():
    (drawn,) = re.findall(r"^```mermaid\n(.*?)\n```$", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)
    today = house.picture(ours().rooms)
    assert drawn == today, f"paste this block into {ARCHITECTURE.name}:\n```mermaid\n{today}\n```"


def test_the_table_has_every_room_and_its_first_line():
    rows = re.findall(r"^\| `([\w/.]+)` \| (.*?) \| (.*?) \|$", ARCHITECTURE.read_text(), re.MULTILINE)
    told = {name.removesuffix("/").removesuffix(".py"): (line, files) for name, line, files in rows}
    faces = ours().faces
    assert told.keys() == faces.keys()
    for room, (line, files) in told.items():
        assert line == faces[room].docstring.split("\n\n")[0].replace("\n", " "), room
        modules = {
            file.module.partition(f"{room}.")[2] for file in ours().files.values() if file.room == room
        }
        packages = {module.partition(".")[0] + "/" for module in modules if "." in module}
        for name in re.findall(r"`(.*?)`", files):
            known = modules | packages | faces[room].names
            assert name in known, f"docs/architecture.md: {room} has no {name}; it has {sorted(known)}"


def test_files_that_the_architecture_names_exist():
    there = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    for name in re.findall(r"[\w/.]+\.py\b", ARCHITECTURE.read_text()):
        assert any(f"/{path}".endswith(f"/{name}") for path in there), f"docs/architecture.md names {name}"


# -- the rules themselves, on small houses that break them ------------------------------------------------------


def build(folder: Path, files: Mapping[str, str]) -> House:
    """A package of these files; a name without .py is a room, and its text the rule in its docstring."""
    for name, text in ({"": "The root."} | dict(files)).items():
        path = folder / "src" / "isosweep" / name
        if path.suffix != ".py":
            path, text = path / "__init__.py", f'"""What it is.\n\n{text}\n"""\n'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return house.read(folder / "src")


SOUND = {
    "high": "May import: low.",
    "high/a.py": "from isosweep.low import b\n",
    "low": "May import: nothing.",
    "low/b.py": "",
}


def test_a_sound_house_has_no_complaints(tmp_path):
    built = build(tmp_path, SOUND)
    assert [joined(rule(built)) for rule in RULES] == [""] * len(RULES)
    assert house.picture(built.rooms) == "flowchart TB\n    high\n    low\n    high --> low"


@pytest.mark.parametrize(
    ("changed", "rule", "complaint"),
    [
        (
            {"low/b.py": "def f():\n    from isosweep.high import a\n"},
            forbidden,
            r"src/isosweep/low/b\.py:2 imports isosweep\.high\.a, and src/isosweep/low/__init__\.py says 'May import: "
            r"nothing'\. Move .* if low is to know high, add it there",
        ),
        ({"low": "No rule."}, unclear, r"low/__init__\.py has no line 'May import"),
        ({"low": "May import: high."}, unclear, r"says 'May import: high', but no file there imports it"),
        ({"low": "May import: attic."}, unclear, r"says 'May import: attic', but that is no room"),
        ({"low": "May import: low."}, unclear, r"says 'May import: low', but files of one room always may"),
        ({"low/b.py": '"""May import: high."""\n'}, unclear, r"b\.py says 'May import': only packages and rooms do"),
        ({"low/b.py": "import numba.core\n"}, private_libraries, r"b\.py:1 imports numba, which only ops may"),
        ({"low/b.py": "import_module('triton')\n"}, private_libraries, r"b\.py:1 imports triton, which only ops may"),
        (
            {"record": "May import: nothing.", "record/x.py": "def f():\n    import torch\n"},
            private_libraries,
            r"record/x\.py:2 imports torch, and record stays without it",
        ),
        (
            {"record": "May import: low.", "record/x.py": "import isosweep.low.b\n", "low/b.py": "import torch\n"},
            ways_to_torch,
            r"x\.py loads torch: isosweep\.record\.x -> isosweep\.low\.b -> torch\. Import isosweep\.low\.b inside",
        ),
        ({"low/b.py": "import isosweep.high.a\n"}, circles, "rooms import each other in a circle: (high|low) -> "),
        (
            {"low/b.py": "from isosweep.low import c\n", "low/c.py": "def f():\n    from isosweep.low import b\n"},
            circles,
            r"^files import each other in a circle: (isosweep\.low\.[bc]) -> isosweep\.low\.[bc] -> \1\.",
        ),
        ({"low/b.py": "\n" * 401}, long_files, r"low/b\.py has 401 lines, more than 400"),
        ({"low/b.py": "from . import c\n"}, relative_imports, r"b\.py:1 imports \.\.c: write the whole name"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_told(tmp_path, changed, rule, complaint):
    assert re.search(complaint, joined(rule(build(tmp_path, SOUND | changed))))


def test_what_loads_no_torch_is_let_through(tmp_path):
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from isosweep.low import b\n"
    lazy += "def f():\n    from isosweep.low import b\n"
    low = {"low/b.py": "import torch\n"}
    record = {"record": "May import: low.", "record/x.py": lazy}
    built = build(tmp_path, SOUND | low | record)
    assert not joined(ways_to_torch(built))
    assert not joined(forbidden(built))
    assert built.rooms["record"] == {"low"}


def test_a_package_in_a_room_narrows_it(tmp_path):
    inner = {"high/in": "May import: nothing.", "high/in/c.py": "import isosweep.low.b\n"}
    complaints = joined(forbidden(build(tmp_path, SOUND | inner)))
    assert "high/in/c.py:1 imports isosweep.low.b, and src/isosweep/high/in/__init__.py says" in complaints
    assert "a.py" not in complaints
    wider = {
        "high/in": "May import: top.",
        "high/in/c.py": "import isosweep.top\n",
        "top": "May import: nothing.",
    }
    complaints = joined(forbidden(build(tmp_path, SOUND | wider)))
    assert (
        "c.py:1 imports isosweep.top, and src/isosweep/high/__init__.py says 'May import: low'" in complaints
    )


def test_arrows_that_follow_from_others_are_not_drawn():
    graph = {
        "a": frozenset("bcd"),
        "b": frozenset("cd"),
        "c": frozenset("d"),
        "d": frozenset(),
        "e": frozenset("d"),
    }
    assert house.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert house.floors(graph) == {"a": 4, "b": 3, "c": 2, "d": 1, "e": 2}
    assert house.circle(graph) == []
    round_ = house.circle(graph | {"d": frozenset("a"), "a": frozenset("b"), "b": frozenset("c")})
    assert "->".join(round_) in {"a->b->c->d->a", "b->c->d->a->b", "c->d->a->b->c", "d->a->b->c->d"}
    assert house.picture(graph).splitlines()[1:5] == ["    a", "    b", "    c & e", "    d"]
