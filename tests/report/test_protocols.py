"""report.py --protocols: every protocol with every method, and the ranks that do not hold under all of them."""

from pathlib import Path

from isosweep.report import TableRequest, make_table, render_files
from tests.report import latex
from tests.report.hand import put


def external(method: str, protocol: str, chamfer: float, coverage: float, scene: str = "scan24") -> dict:
    values = {
        "geometry/chamfer": chamfer, "geometry/accuracy": chamfer, "geometry/completeness": chamfer,
        "geometry/coverage": coverage,
    }  # fmt: skip
    scores = {"protocol": protocol, "values": values, "settings": {"world_unit": "mm"}}
    return {
        "dataset": "dtu",
        "scene": scene,
        "model": method,
        "seed": 0,
        "scores": scores,
        "backend": "external",
    }


def test_rows_are_protocols_with_methods_and_flips_are_marked(tmp_path: Path) -> None:
    known = {
        "dtu-2dgs": {"neus": (0.80, 0.9), "2DGS": (0.70, 0.8)},
        "dtu-neus": {"neus": (0.84, 0.9), "2DGS": (0.90, 0.8)},
        "dtu-neus-icp": {"neus": (0.75, 0.9), "2DGS": (0.75, 0.8)},
    }
    for protocol, methods in known.items():
        for method, (chamfer, coverage) in methods.items():
            put(tmp_path / "r", external(method, protocol, chamfer, coverage))
    made = make_table(TableRequest(sources=(str(tmp_path / "r"),), protocols=True))
    (block,) = made.document.blocks
    assert block.labels == ("protocol", "model")
    assert block.columns == ("Chamfer (mm) ↓", "accuracy (mm) ↓", "completeness (mm) ↓", "coverage ↑")
    cells = {line.labels: line.cells for line in block.lines}
    assert [(c.main, c.mark, c.extra) for c in cells["dtu-neus", "neus"]][::3] == [
        ("0.84", "best", "↕"), ("0.900", "best", "")
    ]  # fmt: skip
    assert cells["dtu-2dgs", "2DGS"][0].mark == "best", "ranked within its protocol"
    assert [cells["dtu-2dgs", m][0].extra for m in ("neus", "2DGS")] == ["", ""]
    assert [cells["dtu-neus-icp", m][0].extra for m in ("neus", "2DGS")] == ["", ""], "equal is no flip"
    (note,) = [n for n in made.document.notes if n.startswith("Rank flips")]
    assert "Chamfer: neus before 2DGS under dtu-neus, not under dtu-2dgs" in note
    assert "coverage" not in note
    latex.check(render_files(made, ["tex"])[".tex"].decode(), tmp_path / "tex")
