"""Which mutants there are: operators, the places that are left alone, a seeded sample.

A mutant is one small change of one source file. Most operators are cosmic-ray's; `OWN` adds those of numerical code: a
clamp that is left out, a minimum for a maximum, an argument that is not passed on, a statement that is missing.
"""

import ast
import difflib
import hashlib
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins  # pyright: ignore[reportMissingImports] - the extra `mutation`
from cosmic_ray.ast import ast_nodes, get_ast  # pyright: ignore[reportMissingImports]
from cosmic_ray.ast.ast_query import ASTQuery  # pyright: ignore[reportMissingImports]
from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
from cosmic_ray.operators.operator import Operator  # pyright: ignore[reportMissingImports]
from cosmic_ray.work_item import MutationSpec  # pyright: ignore[reportMissingImports]
from parso.python.tree import Name  # pyright: ignore[reportMissingImports]

Span = tuple[tuple[int, int], tuple[int, int]]

_PAIRS = """Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitOr_BitAnd BitAnd_BitOr"""
_ORDERS = """Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"""
COSMIC_RAY = (
    *(f"core/ReplaceBinaryOperator_{pair}" for pair in _PAIRS.split()),
    *(f"core/ReplaceComparisonOperator_{pair}" for pair in _ORDERS.split()),
    *(f"core/ReplaceUnaryOperator_Delete_{sign}" for sign in ("USub", "Invert", "Not")),
    *("core/AddNot", "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue"),
    *("core/ReplaceAndWithOr", "core/ReplaceOrWithAnd"),
    *("core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak"),
    *("core/NumberReplacer", "core/ZeroIterationForLoop"),
)
"""At most two changes a place: cosmic-ray's other ones (11 a sign) mostly raise TypeError and lift the score."""

_SWAPS = (
    "min max, minimum maximum, amin amax, argmin argmax, fmin fmax, clamp_min clamp_max, sin cos, floor ceil, any all, "
    "zeros ones, zeros_like ones_like, cumsum cumprod, mean sum, exp log, sqrt square, median mean, append extend"
)
SWAPS: dict[str, str] = {}
for _pair in _SWAPS.split(", "):
    _a, _b = _pair.split()
    SWAPS.setdefault(_a, _b)
    SWAPS.setdefault(_b, _a)
_WRAPPERS = (
    "abs clamp clamp_min clamp_max clip minimum maximum min max fmin fmax sqrt square exp log expm1 relu sigmoid "
    "round floor ceil detach double float flip cumsum cumprod normalize ravel transpose squeeze contiguous sort "
    "sorted expand rad2deg acos softplus log10 sum mean unique diff norm strip lower"
)
WRAPPERS = frozenset(_WRAPPERS.split())
"""Functions and methods without which a value still has its type, so that tests must see its number."""
_GUARDS = ("device=", "strict=")
_MODULES = frozenset(("torch", "np", "math", "F", "nn", "os", "sys", "json", "time", "ops", "geometry"))


def _leaf(text: str, node: Any) -> Any:
    """A node that stands for ``text`` in the place of ``node``."""
    return Name(text, node.start_pos, prefix=node.get_first_leaf().prefix)


def _plain(node: Any) -> str:
    """The code of a node without the blanks and comments before it."""
    return node.get_code(include_prefix=False)


def _is_call(node: Any) -> bool:
    return node is not None and node.type == "trailer" and node.children[0].value == "("


def _arguments(call: Any) -> list[Any]:
    """The argument nodes of a call's trailer."""
    if len(call.children) == 2:
        return []
    inner = call.children[1]
    return [c for c in inner.children if c.type != "operator"] if inner.type == "arglist" else [inner]


class _Own(Operator):
    """An operator that replaces a node by text."""

    @abstractmethod
    def texts(self, node: Any) -> Iterable[str]:
        """What may stand in the node's place."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        for _ in self.texts(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return _leaf(list(self.texts(node))[index], node)

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SwapCall(_Own):
    """f(x) -> g(x) for a pair such as minimum and maximum."""

    def texts(self, node: Any) -> Iterable[str]:
        if node.type != "name" or node.value not in SWAPS:
            return
        place = node.parent if node.parent.type == "trailer" and len(node.parent.children) == 2 else node
        if place.parent.type in ("atom_expr", "power") and _is_call(place.get_next_sibling()):
            yield SWAPS[node.value]


class DropWrapper(_Own):
    """x.abs() -> x, and torch.minimum(x, y) -> x."""

    def texts(self, node: Any) -> Iterable[str]:
        if node.type not in ("atom_expr", "power"):
            return
        parts = node.children
        for i, call in enumerate(parts[1:], 1):
            if not _is_call(call):
                continue
            named = parts[i - 1]
            name = named.children[1].value if named.type == "trailer" and len(named.children) == 2 else ""
            name = name or (named.value if named.type == "name" else "")
            if name not in WRAPPERS:
                continue
            rest = "".join(p.get_code() for p in parts[i + 1 :])
            whole = "".join(_plain(p) for p in parts[: i - 1])
            if (
                i >= 2
                and whole not in _MODULES
                and not (name == "normalize" and whole.endswith("functional"))
            ):
                yield whole + rest
            elif (first := _arguments(call)[:1]) and first[0].type != "argument":
                yield f"({_plain(first[0])}){rest}"


class DropArgument(_Own):
    """f(x, y) -> f(x): the last argument of two or more is not passed on.

    Not where it is a device (tests have a CPU alone) or zip's ``strict``, which only guards against defects elsewhere.
    """

    def texts(self, node: Any) -> Iterable[str]:
        if (
            _is_call(node)
            and len(given := _arguments(node)) > 1
            and not _plain(given[-1]).startswith(_GUARDS)
        ):
            yield f"({', '.join(_plain(a) for a in given[:-1])})"


class DropStatement(_Own):
    """A call for its effect, or an augmented assignment, is left out."""

    def texts(self, node: Any) -> Iterable[str]:
        if (
            node.type == "expr_stmt"
            and len(node.children) == 3
            and node.children[1].get_code().strip() != "="
        ):
            if node.children[1].type == "operator":
                yield "pass"
        elif (
            node.type in ("atom_expr", "power")
            and node.parent.type == "simple_stmt"
            and _is_call(node.children[-1])
        ):
            yield "pass"


OWN: dict[str, type[_Own]] = {
    f"own/{c.__name__}": c for c in (SwapCall, DropWrapper, DropArgument, DropStatement)
}


def operator(name: str) -> Operator:
    return OWN[name]() if name in OWN else cosmic_ray.plugins.get_operator(name)()


def left_alone(source: str) -> list[Span]:
    """Spans that are no behaviour, or whose words other tests pin.

    Annotations, decorators, docstrings and other f-strings, what is logged or raised, ``if TYPE_CHECKING``, and the
    defaults of signatures: a run takes its values from conf/, where they are spelled out.
    """
    lines = source.splitlines()

    def place(line: int, byte: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:byte].decode())

    def span(node: Any) -> Span:
        return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)

    spans: list[Span] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            spans += map(span, node.decorator_list)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            spans += [span(d) for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            spans.append(span(node.returns))
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            spans.append(span(node.annotation))
        if isinstance(node, ast.Raise | ast.JoinedStr):
            spans.append(span(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            spans.append(span(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in (
            "log",
            "logger",
            "warnings",
        ):
            spans.append(span(node))
    return spans


@dataclass(frozen=True)
class Mutant:
    package: str
    path: str
    """Of the source file, relative to the checkout."""
    line: int
    function: tuple[int, int]
    """First and last line of the function that it lies in (of the outermost, where functions nest); (0, 0) outside."""
    where: str
    """The name of the innermost function or class that it lies in."""
    operator: str
    occurrence: int
    source: str
    """The whole file, mutated."""
    removed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def id(self) -> str:
        """Names the change and not its line, so that notes survive edits above it."""
        told = "\n".join((self.path, self.where, self.operator, *self.removed, ">", *self.added))
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    @property
    def diff(self) -> str:
        return "\n".join([f"-{line}" for line in self.removed] + [f"+{line}" for line in self.added])


def _is_axis(name: str, node: Any) -> bool:
    """Whether the sign of a literal -1 is what would go: an axis from the end, which is axis 1 of two."""
    return name.endswith("Delete_USub") and node.get_code(include_prefix=False) == "-1"


def specs(root: Path, path: Path) -> list[MutationSpec]:
    """Every mutation of one file, those of the places that are left alone excepted."""
    source = path.read_text(encoding="utf-8")
    spans, tree, found = left_alone(source), get_ast(source), []
    nodes = list(ast_nodes(tree))
    for name in (*COSMIC_RAY, *OWN):
        made, occurrence = operator(name), -1
        for node in nodes:
            for start, end in made.mutation_positions(node):
                occurrence += 1
                if not (_is_axis(name, node) or any(a <= start < b for a, b in spans)):
                    place = str(path.relative_to(root))
                    where = ASTQuery(node).get_definition_name()
                    found.append(MutationSpec(place, name, occurrence, start, end, definition_name=where))
    return found


def function_around(source: str, line: int) -> tuple[int, int]:
    """Lines of the outermost function, decorators included, that holds a line of a body; (0, 0) where there is none."""
    for node in ast.walk(ast.parse(source)):  # breadth first: the outermost comes first
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            if node.body[0].lineno <= line <= last:
                return min(d.lineno for d in (node, *node.decorator_list)), last
    return 0, 0


def make(root: Path, package: str, spec: MutationSpec) -> Mutant | None:
    """The mutated file; None where the change is no other program (a syntax error, the same code)."""
    before = (root / spec.module_path).read_text(encoding="utf-8")
    after = mutate_code(before, operator(spec.operator_name), spec.occurrence)
    try:
        if after is None or ast.dump(ast.parse(after)) == ast.dump(ast.parse(before)):
            return None
    except SyntaxError:
        return None
    changed = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[3:]
    removed = tuple(line[1:] for line in changed if line.startswith("-"))
    added = tuple(line[1:] for line in changed if line.startswith("+"))
    return Mutant(
        package,
        str(spec.module_path),
        spec.start_pos[0],
        function_around(before, spec.start_pos[0]),
        spec.definition_name or "",
        spec.operator_name,
        spec.occurrence,
        after,
        removed,
        added,
    )


def sample(
    root: Path, sources: dict[str, list[Path]], count: int, seed: int
) -> list[tuple[str, MutationSpec]]:
    """``count`` mutations drawn evenly from all of ``sources`` (package -> files), in the order of the draw.

    A place that two operators change into the same text counts once.
    """
    every = [
        (package, spec)
        for package in sorted(sources)
        for p in sorted(sources[package])
        for spec in specs(root, p)
    ]
    random.Random(seed).shuffle(every)
    drawn, seen = [], set()
    for package, spec in every:
        made = make(root, package, spec)
        if made is None or (made.path, made.source) in seen:
            continue
        seen.add((made.path, made.source))
        drawn.append((package, spec))
        if len(drawn) == count:
            break
    return drawn
