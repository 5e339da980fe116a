"""Whether a fragment of LaTeX compiles: pdflatex where it is installed, and a strict reader everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

from pylatexenc.latexwalker import (
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexWalker,
)

KNOWN = {
    "toprule", "midrule", "bottomrule", "centering", "caption", "label", "textbf", "underline", "textit", "par", "\\",
    "footnotesize", "resizebox", "linewidth", "textbackslash", "textasciitilde", "textasciicircum", "textless",
    "textgreater", "textbar", "pm", "uparrow", "downarrow", "updownarrow", "times", "mu", "alpha", "beta", "gamma",
    "lambda", "sigma", "circ", "ldots", "medskip", "smallskip", "parbox", "ref", "_", "%", "&", "#", "$", "{", "}",
}  # fmt: skip
PACKAGES = {"booktabs", "graphicx"}


def check(fragment: str, folder: Path) -> None:
    """AssertionError where it would not compile in an article with the packages that its first line names."""
    first = fragment.splitlines()[0]
    assert first.startswith("% ")
    packages = re.findall(r"\\usepackage\{(\w+)\}", first)
    assert set(packages) <= PACKAGES
    assert ("\\resizebox" in fragment) == ("graphicx" in packages)
    _read(fragment)
    if shutil.which("pdflatex"):
        _compile(fragment, packages, folder)


def _read(fragment: str) -> None:
    # pylatexenc ends an argument in brackets at the next ], as LaTeX does
    nodes, _, _ = LatexWalker(fragment, tolerant_parsing=False).get_latex_nodes()
    for node in _walk(nodes):
        if isinstance(node, LatexMacroNode):
            assert node.macroname in KNOWN, node.macroname
            if node.macroname == "\\":
                assert node.pos is not None
                after = fragment[node.pos + 2 :].lstrip(" \n")
                assert not after.startswith(("[", "*")), "would be an argument of the line break"
        elif isinstance(node, LatexEnvironmentNode):
            assert node.environmentname in ("table", "tabular")
    for columns, inside in re.findall(
        r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", fragment, re.S
    ):
        for line in inside.splitlines():
            assert (line.startswith("\\") and "rule" in line) or line.endswith(r"\\")
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) + 1 == len(columns), line
    bare = re.sub(r"\\.", "", re.sub(r"(?m)^%.*$|\{%$|Table~\\ref", "", fragment))
    assert not set(bare) & set('#%~"'), set(bare) & set('#%~"')
    assert "_" not in bare
    assert all(c == "\n" or (" " <= c <= "ÿ" and c.isprintable()) for c in bare)


def _walk(nodes):
    for node in nodes:
        if node is None:
            continue
        yield node
        if isinstance(node, LatexEnvironmentNode | LatexGroupNode | LatexMathNode):
            yield from _walk(node.nodelist)
        arguments = getattr(node, "nodeargd", None)
        if arguments is not None and arguments.argnlist:
            yield from _walk(arguments.argnlist)


def _compile(fragment: str, packages: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fragment.tex").write_text(fragment, encoding="utf-8")
    head = "".join(f"\\usepackage{{{p}}}" for p in packages)
    body = f"\\documentclass{{article}}{head}\n\\begin{{document}}\\input{{fragment}}\\end{{document}}\n"
    (folder / "main.tex").write_text(body)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "main.pdf").stat().st_size > 0
