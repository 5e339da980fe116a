"""Captions in words: what a block's numbers are, and over how many scenes and seeds they were taken."""

from collections.abc import Sequence

from isosweep.report.cells import Column, Table
from isosweep.report.keys import short_key, value_text
from isosweep.report.metrics import Metric

Pair = tuple[Column, Metric]
_VIEWS = {"nvs": "on held-out views", "train_view": "on training views", "val": "on validation views"}
_BETTER = {"up": ", higher is better", "down": ", lower is better", "none": ""}


def metrics_caption(table: Table, column: Column, metrics: Sequence[Metric], plain: bool) -> str:
    """Of a block whose columns are metrics: 'Mean over 3 scenes and 3 seeds, ± standard deviation over seeds. ...'."""
    pairs = [(column, m) for m in metrics]
    scenes = _scenes(table, column)
    text = f"{_spread(table, pairs, plain, scenes)} {_sentence(_words_of(metrics))}."
    return text if column.mean else f"{_sentence(column_words(table, column))}. {text}"


def scenes_caption(table: Table, columns: Sequence[Column], metric: Metric, plain: bool) -> str:
    """Of a block whose columns are scenes: 'PSNR (dB) on held-out views, higher is better. Mean over 3 seeds, ...'."""
    words = f"{_words_of([metric])}{_BETTER[metric.direction]}"
    text = f"{_sentence(words)}. {_spread(table, [(c, metric) for c in columns], plain, '')}"
    means = dict.fromkeys(_scenes(table, c) for c in columns if c.mean and "scene" in table.spec.cols)
    if means:
        text = f"{text.removesuffix('.')}; mean: over {' and '.join(means)}."
    return text


def column_words(table: Table, column: Column) -> str:
    """A column in words: 'mean over 3 scenes of demo', 'scene mug', 'encoding freq'."""
    parts = [f"mean over {_scenes(table, column)}"] if column.mean else []
    for key, value in zip(table.spec.cols, column.col, strict=True):
        if not (column.mean and key == "scene"):
            parts.append(f"{short_key(key, table.spec.cols)} {value_text(value)}")
    if not column.mean and column.dataset and len(table.datasets) > 1:
        parts.append(f"of {column.dataset}")
    return ", ".join(parts) or column.dataset or "all runs"


def _scenes(table: Table, column: Column) -> str:
    """'3 scenes', with the data set's name where the table has several."""
    if not column.mean:
        return ""
    names = {p.scene for _, p in table.atoms if column.dataset in ("", p.dataset)}
    of = f" of {column.dataset}" if len(table.datasets) > 1 and column.dataset else ""
    return _count(len(names), "scene") + of


def _spread(table: Table, pairs: Sequence[Pair], plain: bool, scenes: str) -> str:
    counts = sorted({n for row in table.rows for pair in pairs if (n := table.cell(row, *pair).n)})
    keys = [short_key(k, table.spec.over) for k in table.spec.over]
    one = keys[0] if len(keys) == 1 else "run"
    if counts in ([], [1]):
        over = f"Mean over {scenes}; one" if scenes else "One"
        return f"{over} {one} each, so there is no spread."
    many = f"{counts[0]} to {_count(counts[-1], one)}" if len(counts) > 1 else _count(counts[0], one)
    text = f"Mean over {f'{scenes} and ' if scenes else ''}{many}"
    return f"{text}." if plain else f"{text}, ± standard deviation over {one}s."


def _words_of(metrics: Sequence[Metric]) -> str:
    """'PSNR (dB) and SSIM on held-out views; Chamfer (mm) and training time (min)': metrics of one kind share words."""
    groups: dict[str, list[str]] = {}
    for m in metrics:
        prefixes = dict.fromkeys(n.rpartition("/")[0] for n in m.names)
        where = " and ".join(_VIEWS.get(p, "") for p in prefixes)
        unit = f" ({m.unit})" if m.unit else ""
        groups.setdefault(where if where.strip() else "", []).append(f"{m.word}{unit}")
    listed = [(_listed(words), where) for where, words in groups.items()]
    return "; ".join(f"{words} {where}".strip() for words, where in listed)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
