"""The rooms of the source and the imports between them, read from the files without importing any of them.

A room is a package of `isosweep`, a file that lies beside the packages (types.py), or the namespace of Hydra's plugins.
Its docstring names the rooms that its files may import: ``May import: errors, types.`` A package inside a room
may narrow that down for its own files. Files of one room import each other freely.

Every import counts, also inside a function or under TYPE_CHECKING: it ties two files as much as one at the top, since
neither can be understood, moved or tested without the other. Only ``Import.when_loaded`` tells them apart, for
what an import drags in. A module that is named by text is seen where ``import_module`` gets the text itself.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "isosweep"
PLUGINS = "hydra_plugins"
_RULE = re.compile(r"^May import: ([^.]*)\.$", re.MULTILINE)

Graph = Mapping[str, frozenset[str]]
"""Room or module -> those that it imports."""


@dataclass(frozen=True)
class Import:
    target: str
    """As written: a module, or a name in one."""
    line: int
    when_loaded: bool
    """Whether loading the file runs it: not inside a function, not under TYPE_CHECKING."""


@dataclass(frozen=True)
class File:
    path: Path
    """Relative to the source folder's parent."""
    module: str
    docstring: str
    imports: tuple[Import, ...]
    names: frozenset[str]
    """What the file defines at its top."""
    lines: int

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str | None:
        """None for the root package, which is no room."""
        first, *rest = self.module.split(".")
        return first if first == PLUGINS else rest[0] if rest else None

    @property
    def may_import(self) -> frozenset[str] | None:
        """The rooms that the docstring allows; None where it does not say."""
        found = _RULE.search(self.docstring)
        if found is None:
            return None
        return frozenset(name for name in re.split(r",\s*", found[1]) if name != "nothing")


@dataclass(frozen=True)
class House:
    files: Mapping[str, File]
    """By the module's dotted name, sorted."""

    @cached_property
    def faces(self) -> dict[str, File]:
        """Room -> the file whose docstring speaks for it."""
        faces: dict[str, File] = {}
        for file in self.files.values():  # sorted: a package comes before its files
            if file.room is not None:
                faces.setdefault(file.room, file)
        return faces

    def inside(self, target: str) -> File | None:
        """The file of the longest module in a dotted name; None for code of others."""
        while target and target not in self.files:
            target = target.rpartition(".")[0]
        return self.files.get(target)

    def speakers(self, file: File) -> Iterator[File]:
        """The files whose ``May import`` holds for ``file``: of its room, and of the packages around it in there."""
        module = file.module
        while module:
            found = self.files.get(module)
            if found and found.may_import is not None and (found.is_package or found in self.faces.values()):
                yield found
            module = module.rpartition(".")[0]

    def between(self, file: File) -> Iterator[tuple[Import, File]]:
        """The imports of other files of ours in a file, each with what it imports."""
        for one in file.imports:
            found = self.inside(one.target)
            if found is not None and found is not file:
                yield one, found

    @property
    def rooms(self) -> Graph:
        graph: dict[str, set[str]] = {room: set() for room in self.faces}
        for file in self.files.values():
            for _, other in self.between(file):
                if file.room and other.room and other.room != file.room:
                    graph[file.room].add(other.room)
        return {room: frozenset(others) for room, others in graph.items()}

    @property
    def modules(self) -> Graph:
        return {
            name: frozenset(other.module for _, other in self.between(file))
            for name, file in self.files.items()
        }


def read(source: Path) -> House:
    """All Python files of the package and of the plugins below a source folder."""
    paths = [p for top in (PACKAGE, PLUGINS) for p in (source / top).rglob("*.py")]
    files = [_read_file(path, source) for path in paths]
    return House({file.module: file for file in sorted(files, key=lambda file: file.module)})


def _read_file(path: Path, source: Path) -> File:
    text = path.read_text()
    tree = ast.parse(text)
    parts = path.relative_to(source).with_suffix("").parts
    return File(
        path=path.relative_to(source.parent),
        module=".".join(parts[:-1] if parts[-1] == "__init__" else parts),
        docstring=ast.get_docstring(tree) or "",
        imports=tuple(sorted(_imports(tree), key=lambda one: one.line)),
        names=frozenset(_names(tree)),
        lines=len(text.splitlines()),
    )


def _imports(tree: ast.Module) -> Iterator[Import]:
    """Every import of a file, in no order."""
    todo: list[tuple[ast.AST, bool]] = [(tree, True)]
    while todo:
        node, when_loaded = todo.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, when_loaded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # a leading dot stays: no module of ours has one, and a test refuses it
            where = "." * node.level + (node.module or "")
            yield from (Import(f"{where}.{alias.name}", node.lineno, when_loaded) for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) == "import_module":
            texts = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            yield from (Import(text, node.lineno, when_loaded) for text in texts if isinstance(text, str))
        if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
            todo += [(child, False) for child in node.body] + [(child, when_loaded) for child in node.orelse]
            continue
        runs = when_loaded and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        todo += [(child, runs) for child in ast.iter_child_nodes(node)]


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def circle(graph: Graph) -> list[str]:
    """One circle of a graph, from a node by what it imports back to it; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def floors(graph: Graph) -> dict[str, int]:
    """Room -> its floor: one above the highest of those that it imports; 1 is the ground."""
    found: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        found[room] = 1 + max((found[other] for other in graph[room]), default=0)
    return found


def reduced(graph: Graph) -> Graph:
    """The graph without arrows that follow from others: a -> c where a -> b -> c."""
    below: dict[str, frozenset[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        below[room] = graph[room].union(*(below[other] for other in graph[room]))
    return {
        room: frozenset(o for o in others if not any(o in below[via] for via in others))
        for room, others in graph.items()
    }


def picture(graph: Graph) -> str:
    """The rooms as a Mermaid flow chart, from the top floor to the ground, with the reduced arrows."""
    floor, arrows = floors(graph), reduced(graph)
    order = sorted(graph, key=lambda room: (-floor[room], room))
    lines = [f"    {room} --> {' & '.join(sorted(arrows[room]))}" for room in order if arrows[room]]
    rows = {f: [room for room in order if floor[room] == f] for f in sorted(floor.values(), reverse=True)}
    return "\n".join(["flowchart TB", *(f"    {' & '.join(row)}" for row in rows.values()), *lines])
