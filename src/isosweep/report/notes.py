"""What stands under a table: how its numbers were made, what is missing and why, where published figures are from."""

from collections.abc import Iterable, Mapping

from isosweep.report.cells import Column, Key, MissingCause, Table, keys_text
from isosweep.report.checks import Conflict
from isosweep.report.collect import Run
from isosweep.report.document import Extras
from isosweep.report.flips import flip_notes
from isosweep.report.keys import short_key, sort_key, value_text
from isosweep.report.metrics import Metric
from isosweep.report.paired import RESAMPLES
from isosweep.report.published import Sourced

MOST_CAUSES = 60
_ORIGIN = {"paper": "published", "authors": "the authors later", "independent": "an independent run"}


def source_text(one: Sourced, table: Table) -> str:
    """Whose figure it is, where it was printed, how it was scored, and whether it was compared with that source."""
    line = one.line
    parts = [f"{line.method}: {_ORIGIN[line.origin]}, {line.source}"]
    if line.setting:
        parts.append(line.setting)
    ours = {p or "not named" for metric in {m for _, m in one.cells} for p in table.protocols[metric]}
    if ours and ours != {line.protocol}:
        parts.append(f"protocol {line.protocol}, not ours ({', '.join(sorted(ours))})")
    else:
        parts.append(f"protocol {line.protocol}")
    if not line.status.startswith("checked"):
        parts.append(line.status)
    return f"{'; '.join(parts)}.{f' {line.link}' if line.link else ''}"


def _is_method(run: Run) -> bool:
    """Whether a run is of a program that is not ours (``model=external``)."""
    return isinstance(run.record.config.get("method"), dict)


def note_texts(table: Table, extras: Extras, uniform: int | None) -> list[str]:
    scored = [r for r in table.runs if r.scored]
    over = ", ".join(short_key(k, table.spec.over) for k in table.spec.over) or "nothing"
    if uniform == 1:
        spread = "every number is of one run, so there is no spread"
    elif extras.plain:
        counts = sorted({cell.n for cell in table.cells.values() if cell.n})
        spread = f"mean over {over}, n = {', '.join(map(str, counts)) or 0}; the spread is in the csv"
    elif uniform is not None:
        spread = f"mean ± standard deviation (ddof=1) over {over}, n = {uniform}"
    else:
        spread = f"mean ± standard deviation (ddof=1) over {over}, (n); no ± for n = 1"
    notes = [
        f"Protocol {_protocols_text(table)}; {spread}. Best bold, second underlined, compared as printed; – missing."
    ]
    if any(c.mean for c in table.columns):
        means = "; ".join(f"{d or 'mean'}: {n} scenes" for d, n in _mean_sizes(table).items())
        notes.append(
            f"A mean is taken over all scenes of the table ({means}) for each seed, then over the seeds. "
            "It is – if a scene, or one of its seeds, is missing."
        )
    notes += [
        f"Tolerated ({c.kind}), {c.scope}: {c.key} is {', '.join(c.values)}."
        for c in _merge_places(extras.tolerated)
    ]
    codes = sorted({r.code for r in scored if r.code})
    if len(codes) > 1:
        notes.append(f"Cells come from {len(codes)} versions of the numerical code: {', '.join(codes)}.")
    methods = sorted(
        {(r.record.model, str(r.record.config["method"]["version"])) for r in scored if _is_method(r)}
    )
    if methods:
        notes.append(f"Methods that are not ours, by version: {'; '.join(' '.join(one) for one in methods)}.")
    if table.external:
        named = "; ".join(keys_text(table.spec.rows, row) for row in table.rows if row in table.external)
        notes.append(
            f"External: {named}. How they were trained is not in their records and was not compared."
        )
        notes += _other_protocol_notes(table, extras)
    if any(m.cost for m in table.metrics):
        devices = sorted({r.record.device for r in scored if r.record.device}, key=sort_key)
        notes.append(
            "Times and memory (the GPU's where there is one, else the process's) were measured on: "
            f"{', '.join(devices) or 'not named'}."
        )
    if extras.published:
        ranked = "ranked with ours" if extras.rank_published else "not ranked with ours"
        notes.append(f"Published rows are as printed in their sources, {ranked}.")
    if extras.comparisons:
        notes.append(
            f"Differences: row minus baseline; interval: bootstrap over scenes ({RESAMPLES} resamples, seed fixed); "
            "sign test: two-sided, ties left out."
        )
        left_out = sum(c.left_out for c in extras.comparisons)
        if left_out:
            notes.append(
                f"{left_out} values have no partner in their scene, because only one of the two rows has the seed: "
                "they are in no difference."
            )
        most = max(c.n for c in extras.comparisons)
        if most < 6:
            notes.append(
                f"Few scenes: with {most} the sign test cannot come below p = {2.0 ** (1 - max(most, 1)):.2g}, and the "
                "interval is rough."
            )
    notes += flip_notes(table) if extras.flips else []
    notes += extras.notes
    if table.replaced:
        notes.append(
            f"{table.replaced} runs without scores are left out: a finished run of the same cell and seed counts."
        )
    if extras.collection.duplicates:
        notes.append(f"{extras.collection.duplicates} records are copies of runs that are counted already.")
    return notes


def _protocols_text(table: Table) -> str:
    """'standard', or 'standard (psnr, ssim), dtu-neus (chamfer)' where scores have different protocols."""
    found: dict[str, list[str]] = {}
    for metric in (m for m in table.metrics if not m.cost):
        protocols = " and ".join(sorted(p or "not named" for p in table.protocols[metric]))
        if protocols:
            found.setdefault(protocols, []).append(metric.requested)
    if len(found) < 2:
        return next(iter(found), "–")
    return ", ".join(f"{protocols} ({', '.join(names)})" for protocols, names in found.items())


def _other_protocol_notes(table: Table, extras: Extras) -> list[str]:
    """A note for each external row that was scored under another protocol than ours."""
    if "protocol" in table.spec.keys:
        return []
    found: dict[tuple[Key, str], list[str]] = {}
    for row in (r for r in table.rows if r in table.external):
        for metric in (m for m in table.metrics if not m.cost):
            cells = [table.cell(row, column, metric) for column in table.columns]
            protocols = {p for c in cells if c.values for p in c.protocols or ("",)}
            if not protocols <= table.protocols[metric]:
                named = ", ".join(sorted(p or "not named" for p in protocols))
                found.setdefault((row, named), []).append(metric.requested)
    how = "ranked with ours (--allow protocol)" if extras.rank_mixed else "not ranked with ours"
    return [
        f"{keys_text(table.spec.rows, row)}: {', '.join(names)} under protocol {protocols}, {how}."
        for (row, protocols), names in found.items()
    ]


def _mean_sizes(table: Table) -> Mapping[str, int]:
    scenes: dict[str, set[str]] = {}
    for _, place in table.atoms:
        scenes.setdefault(place.dataset, set()).add(place.scene)
    return {d: len(s) for d, s in sorted(scenes.items())}


def _merge_places(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """One conflict for each key and its values; its scope says in how many more places it occurs."""
    places: dict[tuple[str, str, tuple[str, ...]], list[Conflict]] = {}
    for c in conflicts:
        places.setdefault((c.kind, c.key, c.values), []).append(c)
    return [
        same[0]
        if len(same) == 1
        else Conflict(same[0].kind, f"{same[0].scope} and {len(same) - 1} more", same[0].key, same[0].values)
        for same in places.values()
    ]


def cause_texts(table: Table) -> list[str]:
    """One line for each cause. Metrics and columns with the same cause share a line."""
    found: dict[tuple[Key, MissingCause, str], list[Metric]] = {}
    for row in table.rows:
        for column in table.columns:
            for metric in table.metrics:
                for cause in table.cell(row, column, metric).causes:
                    of_scene = column.mean and "scene" in table.spec.cols
                    if of_scene and (cause.why != "no record" or "," not in cause.place):
                        continue  # the scene's own cell names it
                    found.setdefault((row, cause, _column_text(table, column)), []).append(metric)
    together: dict[tuple[Key, MissingCause, tuple[Metric, ...]], list[str]] = {}
    for (row, cause, column_text), metrics in found.items():
        together.setdefault((row, cause, tuple(metrics)), []).append(column_text)
    lines = []
    for (row, cause, metrics), places in together.items():
        which = "" if len(metrics) == len(table.metrics) else f" ({', '.join(m.requested for m in metrics)})"
        columns = "; ".join(p for p in places if p)
        place = ", ".join(x for x in (keys_text(table.spec.rows, row), columns, cause.place) if x)
        lines.append(f"{place}{which}: {cause.why}")
    if len(lines) > MOST_CAUSES:
        lines = [*lines[:MOST_CAUSES], f"and {len(lines) - MOST_CAUSES} more; the csv has each"]
    return lines


def _column_text(table: Table, column: Column) -> str:
    parts = [
        f"{k}={value_text(v)}"
        for k, v in zip(table.spec.cols, column.col, strict=True)
        if not (column.mean and k == "scene")
    ]
    if len(table.datasets) > 1 and column.dataset and "dataset" not in table.spec.cols:
        parts.insert(0, f"dataset={column.dataset}")
    return ", ".join(parts)
