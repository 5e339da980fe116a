"""What the page's views show of a small sweep written by hand: seeds as bands, crops, keys as columns, meshes.

Two settings x two scenes x three seeds with known curves, pictures and meshes; one browser for all tests.
"""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh

from isosweep.report.browse import PageLimits, make_page
from isosweep.report.browse.distances import Surface, read_cameras
from isosweep.report.browse.points import published_points
from isosweep.report.collect import collect
from isosweep.report.command import main
from isosweep.report.pipeline import TableRequest
from tests.report.hand import put, record
from tests.report.test_page import index
from tests.report.test_page_browser import Page
from tests.support.browser import browser, complaints, require

SIZE = (40, 20)
FRONT = np.array([1.3, -2.3, 1.2]) / np.linalg.norm([1.3, -2.3, 1.2])
"""From the centre of a scene to the page's camera, in worlds whose z is up."""
FIGURES = """
const done = arguments[0];
const sides = [...document.querySelectorAll('.crop')].slice(0, 2).map(c => ({
  title: c.querySelector('figcaption').innerText, file: c.querySelector('img').getAttribute('src'), psnr: '1 dB' }));
const address = blob => new Promise(r => {
  const reader = new FileReader(); reader.onload = () => r(reader.result); reader.readAsDataURL(blob); });
Promise.all(['png', 'svg'].map(t => isosweep.crops.figure(sides, 2, t).then(address))).then(done, e => done(String(e)));
"""
"""Figures of the photograph and the first run, as data addresses."""


def sweep(root: Path) -> None:
    """Eikonal weights 0.1 and 0.01, scenes mug and torus, seeds 0 to 2."""
    for weight in (0.1, 0.01):
        for scene in ("mug", "torus"):
            for seed in range(3):
                made = record(
                    scene=scene, seed=seed, values={"nvs/psnr": 30 + seed + 10 * weight},
                    config={"loss.terms.eikonal.weight": weight}, overrides=[f"loss.terms.eikonal.weight={weight}"],
                    run_key=f"{weight}{scene}{seed}",
                )  # fmt: skip
                made["scores"]["per_view"] = {"nvs/psnr": {"v_0": 25.5 + seed}}
                folder = put(root, made)[0].parent
                height = {0: 18.0, 1: 20.0, 2: 25.0}[seed] + 20 * weight
                lines = [{"step": s, "time_s": 0.6 * s, "val/psnr": height + s / 100} for s in (0, 100, 200)]
                (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
                picture(folder / "renders", seed)
                trimesh.creation.icosphere(3, radius=1.1).export(folder / "mesh.ply")
                trimesh.creation.icosphere(4, radius=1.0).export(folder / "truth.ply")
                (folder / "renders" / "cameras.json").write_text(json.dumps({"v_0": camera()}))


def camera() -> dict[str, Any]:
    """A camera on the side from which the page looks at first, of pictures of 400 x 200 pixels."""
    back = FRONT
    right = np.cross(-back, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-back, right), -back])
    matrix = np.array([[300, 0, 180], [0, 300, 110], [0, 0, 1.0]]) @ np.c_[rotation, -rotation @ (5 * back)]
    return {"size": [400, 200], "matrix": matrix.tolist()}


def picture(folder: Path, seed: int) -> None:
    """Left half grey, a different one for each seed; right half red. The photograph's right half is green."""
    folder.mkdir()
    for kind, right in (("rgb", (255, 0, 0)), ("truth", (0, 255, 0))):
        made = PIL.Image.new("RGB", SIZE, right)
        made.paste((60 + 40 * seed,) * 3 if kind == "rgb" else (60,) * 3, (0, 0, 20, 20))
        made.save(folder / f"v_0_{kind}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("views")
    sweep(made / "runs")
    make_page(TableRequest((str(made / "runs"),), made, published=None), made / "page", PageLimits())
    return made / "page"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require()
    with browser(tmp_path_factory.mktemp("profile"), (1280, 720)) as made:
        yield made


@pytest.fixture
def page(driver: Any, folder: Path, tmp_path: Path) -> Iterator[Page]:
    complaints(driver)
    yield Page(driver, folder, tmp_path)
    assert [c for c in complaints(driver) if "ReadPixels" not in c] == []


def test_names_say_what_differs_and_groups_are_settings(folder: Path) -> None:
    runs = index(folder)["runs"]
    assert {r["setting"] for r in runs} == {
        "neus-hashgrid eikonal.weight=0.1",
        "neus-hashgrid eikonal.weight=0.01",
    }
    assert {r["group"] for r in runs} == {0, 1}
    assert all((r["group"] == runs[0]["group"]) == (r["setting"] == runs[0]["setting"]) for r in runs)
    assert runs[0]["psnr"] == {"v_0": 25.5}


def test_published_points_have_a_time_and_a_scene(tmp_path: Path) -> None:
    put(tmp_path / "runs", record(dataset="blender", scene="chair"))
    head = "method,dataset,metric,setting,protocol,chair,lego,mean,time,gpu,source,status"
    lines = ["a,blender,nvs/psnr,,p,35.71,1,,269 s,Titan,book,", "b,blender,nvs/psnr,,p,33,1,,days,,book,",
             "c,blender,nvs/psnr,,p,,1,,5 min,,book,", "d,dtu,nvs/psnr,,p,3,1,,5 min,,book,"]  # fmt: skip
    (tmp_path / "p.csv").write_text("\n".join(["# a comment", head, *lines]))
    (point,) = published_points(tmp_path, collect([str(tmp_path / "runs")], tmp_path).runs)
    assert point["minutes"] == pytest.approx(269 / 60)
    assert (point["scene"], point["metric"], point["value"], point["method"]) == (
        "blender/chair",
        "psnr",
        35.71,
        "a",
    )


def test_seeds_are_one_line_with_a_band(page: Page) -> None:
    page.open("curves")
    page.sees(lambda: page.texts(".chart figcaption"), ["val/psnr demo/mug", "val/psnr demo/torus"])
    rows = page.texts(".legend tbody tr")
    assert len(rows) == 4, "a setting and a scene each, not a seed"
    # 20, 22 and 27 at the start, 2 more at the end: mean 25, deviation of 3 values sqrt(13) = 3.6056
    assert "25 ± 3.6" in rows[0]
    made = page.js(
        "return isosweep.band(arguments[0], 'range')",
        [{"x": [0, 10], "y": [1, 3]}, {"x": [0, 5, 10], "y": [3, None, 7]}, {"x": [0, 10], "y": [5, 8]}],
    )
    assert made == {"x": [0, 10], "mean": [3, 6], "low": [1, 3], "high": [5, 8], "n": 3}
    made = page.js("return isosweep.band([{x: [0, 10], y: [0, 4]}, {x: [0, 5, 10], y: [2, 3, 6]}], 'std')")
    assert made["x"] == [0, 5, 10], "between its points a curve is a straight line"
    assert made["mean"] == [1, 2.5, 5]
    assert made["low"] == pytest.approx([1 - 2**0.5, 2.5 - 0.5**0.5, 5 - 2**0.5])
    assert page.js("return isosweep.band([{x: [0, 1, 2], y: [1, null, 3]}], 'std').mean") == [1, None, 3]
    ink = page.pixels(".chart .plot")
    blue = (ink[..., 2] - ink[..., 0] > 80).sum()  # the lines' edges are blended with the bands
    page.one("input[name=seeds][value=each]").click()
    page.sees(lambda: len(page.texts(".legend tbody tr")), 12)
    assert blue > 50
    page.one("input[name=across][value=t]").click()
    said = "val/psnr of demo/mug over training time, minutes, 6 lines; the values are in the table below"
    page.sees(lambda: page.one(".chart").get_attribute("aria-label"), said)


def test_a_setting_keeps_its_colour_when_others_are_filtered_away(page: Page) -> None:
    def colours() -> list[str]:
        swatches = "[...document.querySelectorAll('.legend .swatch path')]"
        return page.js(f"return {swatches}.map(p => p.getAttribute('stroke'))")

    page.open("curves")
    page.until(colours)
    first, other = sorted(set(colours()))
    assert (first, other) == ("#0072b2", "#e69f00")
    page.open("curves", "&words=eikonal.weight%3D0.01")
    page.until(colours)
    assert len(set(colours())) == 1
    assert set(colours()) <= {first, other}
    weight = page.js("return isosweep.runs()[0].group")
    assert colours()[0] == ["#0072b2", "#e69f00"][weight]


def test_pictures_with_truth_psnr_and_labels_that_differ(page: Page) -> None:
    page.open("images", "&v.kind=error")
    ids = page.js(
        "return isosweep.index().runs.filter(r => r.scene === 'mug' && r.seed === 0).map(r => r.id)"
    )
    page.open("images", f"&v.left={ids[0]}&v.right={ids[1]}")
    assert page.texts(".both thead th")[0] == "Truth"
    assert len(page.all(".both img[alt='ground truth']")) == 2
    assert page.texts(".tag") == ["eikonal.weight=0.1\n25.50 dB", "eikonal.weight=0.01\n25.50 dB"]
    assert page.texts(".card .psnr")[:3] == ["25.50 dB", "26.50 dB", "27.50 dB"]
    assert "0.2 and more" in page.one(".scale").text
    bottom = page.js("return document.getElementById('compare').getBoundingClientRect().bottom")
    assert bottom < 720, "the picture fits the window"


def test_crops_move_together_and_become_figures(page: Page) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open("images")
    page.until(lambda: page.js("return [...document.images].every(i => i.complete)"))
    page.one("#crop").click()
    stage = page.one("#compare")
    width, height = stage.size["width"], stage.size["height"]
    drag = ActionChains(page.driver).move_to_element_with_offset(
        stage, round(-0.2 * width), round(-0.25 * height)
    )
    drag.click_and_hold().move_by_offset(round(0.4 * width), round(0.5 * height)).release().perform()

    def box() -> list[float]:
        return [float(x) for x in page.js("return isosweep.state.view.crop || '0'").split(",")]

    page.sees(box, pytest.approx([0.3, 0.25, 0.7, 0.75], abs=0.01))
    page.sees(lambda: len(page.all(".crop")), 7, "the photograph and six runs")
    page.keys(".hole", Keys.ARROW_RIGHT * 5)
    page.sees(box, pytest.approx([0.5, 0.25, 0.9, 0.75], abs=0.02))
    for hole in page.all(".hole"):
        seen = np.asarray(PIL.Image.open(io.BytesIO(hole.screenshot_as_png)).convert("RGB")).astype(int)
        assert seen[5:-5, 8:-8].std((0, 1)).max() < 12, (
            "every crop lies in the right half, which has one colour"
        )
    page.js("const b = isosweep.state.view; b.crop = '0.25,0.2,0.75,0.8'; isosweep.changed('images')")
    page.until(lambda: len(page.all(".crop")) == 7)
    made = page.driver.execute_async_script(FIGURES)
    png, svg = (base64.b64decode(one.partition(",")[2]) for one in made)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    # 3 pixels for a unit: the first column's whole picture is 220 x 110 units, its crop lies 8 below, 220 x 132
    crop = pixels[3 * 118 : 3 * 250, : 3 * 220]
    assert np.abs(crop[200, 100] - [60, 60, 60]).max() < 12, "left: the photograph's grey"
    assert np.abs(crop[200, 560] - [0, 255, 0]).max() < 40, "right: its green"
    edge = np.argmax(crop[200, :, 1] > 160)
    assert abs(edge - 330) < 10, "half of the crop, to a pixel of the picture"
    text = svg.decode()
    assert text.count("data:image/webp;base64,") == 4
    assert "0.25 0.2 0.5 0.6" in text
    assert "ground truth" in text
    page.one("#save-png").click()
    assert page.texts("#panel .problem") in ([], [""])


def test_keys_are_columns_and_numbers_stay_on_the_screen(page: Page) -> None:
    page.open("runs")
    heads = page.texts("#panel thead th")
    assert "eikonal.weight" in heads
    right = (
        "[...document.querySelectorAll('#panel thead th.number')].map(h => h.getBoundingClientRect().right)"
    )
    assert page.js(f"return Math.max(...{right})") < 1280
    names = page.texts("#panel tbody th")
    assert set(names) == {"neus-hashgrid s0", "neus-hashgrid s1", "neus-hashgrid s2"}, (
        "what is a column is not in it"
    )
    assert page.js("return isosweep.brief(0.123456)") == "0.1235"
    assert "the bar in a cell" in page.one("#panel .note").text
    page.one("#panel button.link").click()
    page.until(lambda: page.one("#details").is_displayed())
    captions = page.texts("#details figcaption")
    assert captions == ["render", "photograph", "error"]
    page.one("#details .close").click()


def test_pinned_columns_stay_beside_the_name_while_the_table_scrolls(page: Page) -> None:
    page.open("runs")
    page.js("document.querySelector('#panel details.columns').open = true")
    page.one("#panel button[aria-label='Pin geometry/chamfer']").click()
    page.until(lambda: page.all("#panel button[aria-label='Pin geometry/chamfer'][aria-pressed=true]"))
    heads = page.texts("#panel thead th")
    assert heads[1] == "Run"
    assert "Chamfer" in heads[2], "it moves beside the name"
    cells = page.texts("#panel tbody tr:first-child td")
    lefts = (
        "document.querySelector('#panel .wide').style.width = '720px';"
        "document.querySelector('#panel .wide').scrollLeft = 400;"
        "return [...document.querySelectorAll('#panel thead th')].slice(1, 4).map(h => h.getBoundingClientRect().left)"
    )
    page.drawn()
    page.js(lefts)
    page.drawn()
    run, chamfer, scene = page.js(lefts)
    edge = page.js("return document.querySelector('#panel .wide').getBoundingClientRect().left")
    width = page.js("return document.querySelectorAll('#panel thead th')[1].getBoundingClientRect().width")
    assert run == pytest.approx(edge, abs=2)
    assert chamfer == pytest.approx(run + width, abs=2), "it stands where the name ends"
    assert scene < chamfer, "what is not pinned has scrolled away below them"
    page.js("document.querySelector('#panel .wide').style.width = '300px'")
    page.drawn()
    page.drawn()
    assert page.js(lefts.replace("720px", "300px"))[1] < edge, "but never over more than half of the width"
    page.open("runs", "&v.pinned=geometry%2Fchamfer")
    assert "Chamfer" in page.texts("#panel thead th")[2], "a bookmark keeps it"
    assert page.texts("#panel tbody tr:first-child td") == cells
    page.js("document.querySelector('#panel details.columns').open = true")
    page.one("#panel button[aria-label='Pin geometry/chamfer']").click()
    page.sees(lambda: page.texts("#panel thead th")[2], "Scene")


def test_settings_explain_a_share_of_the_variance(page: Page) -> None:
    page.open("settings")
    # by hand: groups 1, 2, 3 and 5, 6, 7: SST 28, within 4, between 24, 4 degrees of freedom: (24 - 4/4) / 28
    made = page.js("return isosweep.explained([1, 2, 3, 5, 6, 7], ['a', 'a', 'a', 'b', 'b', 'b'])")
    assert made == pytest.approx(23 / 28)
    assert page.js("return isosweep.explained([1, 2, 1, 2], ['a', 'a', 'b', 'b'])") == 0
    assert page.js("return isosweep.explained([1, 2], ['a', 'a'])") is None
    # PSNR is 31, 32, 33 or 30.1, 31.1, 32.1, twice: SST 10.43, within 8, between 2.43, 10 degrees of freedom
    assert page.texts(".shares tbody td")[0] == f"{100 * (2.43 - 0.8) / 10.43:.0f} %"
    assert len(page.all(".parallel path.run")) == 12
    page.one("#tab-differences").click()
    page.until(lambda: page.js("return document.getElementById('panel').dataset.drawn") == "differences")
    assert page.js(
        "const t = document.querySelector('.differences'); return t.scrollWidth <= t.parentElement.clientWidth"
    )


def test_distances_are_those_to_the_surface() -> None:
    square = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], dtype=float)
    points = np.array([[1, 1, 0.5], [2, 3, -2], [-3, 2, 4], [7, 8, 0]], dtype=float)
    far = Surface(square, np.array([[0, 1, 2], [0, 2, 3]])).distance(points)
    np.testing.assert_allclose(far, [0.5, 2, 5, 5], atol=1e-12)
    ball = trimesh.creation.icosphere(3)
    mine, known = Surface(np.asarray(ball.vertices), np.asarray(ball.faces)), np.random.default_rng(0)
    away = known.normal(size=(40, 3))
    away *= (1.05 + known.random((40, 1))) / np.linalg.norm(away, axis=1, keepdims=True)
    corners = np.asarray(ball.triangles)
    exact = np.array([
        np.linalg.norm(trimesh.triangles.closest_point(corners, np.tile(x, (len(corners), 1))) - x, axis=1).min()
        for x in away
    ])  # fmt: skip
    found = mine.distance(away)
    assert np.abs(found - exact).max() < 2e-3
    assert np.median(np.abs(found - exact)) < 1e-9


def test_truth_and_cameras_come_with_the_scene(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = index(folder)
    place = found["scenes"]["demo/mug"]
    assert place["truth"]["name"] == "truth.ply"
    assert place["truth"]["top"] == pytest.approx(0.05 * 12**0.5, rel=0.01)
    assert place["cameras"] == {"v_0": camera()}
    accuracy, completeness = found["runs"][0]["mesh"]["means"]
    assert accuracy == pytest.approx(0.1, abs=0.003)  # vertices lie on the balls, faces within them
    assert completeness == pytest.approx(0.1, abs=0.012)
    (tmp_path / "c.json").write_text('{"a": {"size": [4, 2], "matrix": [[1, 0, 0, 0]]}}')
    assert read_cameras(tmp_path / "c.json") == {}
    put(tmp_path / "runs", record(dataset="dtu", scene="scan24"))
    command = [str(tmp_path / "runs"), "--page", str(tmp_path / "page"), "--no-published", "--page-truth"]
    assert main([*command, "scan24=x.ply"]) == 1
    assert main([*command, "dtu/scan42=x.ply"]) == 1
    assert main([*command, "dtu/scan24=x.ply"]) == 1
    said = capsys.readouterr().err
    assert "give DATASET/SCENE=FILE" in said
    assert "Did you mean dtu/scan24?" in said
    assert "there is no such file" in said
    trimesh.creation.icosphere(1).export(tmp_path / "t.ply")
    assert main([*command, f"dtu/scan24={tmp_path}/t.ply"]) == 0
    assert index(tmp_path / "page")["scenes"]["dtu/scan24"]["truth"]["faces"] == 80


def test_meshes_beside_the_truth_coloured_by_distance(page: Page) -> None:
    def seen() -> list[np.ndarray]:
        page.drawn()
        shots = [w.screenshot_as_png for w in page.all(".window")]
        return [
            np.asarray(PIL.Image.open(io.BytesIO(s)).convert("RGB")).astype(int)[45:-4, 4:-4] for s in shots
        ]

    page.open("meshes", "&v.surface=grey")
    page.until(lambda: page.one("#mesh-canvas").get_attribute("data-ready"))
    assert page.texts(".window strong")[0] == "ground truth"
    grey = [part[part.shape[0] // 2, part.shape[1] // 2] for part in seen()]
    assert min(g.min() for g in grey) > 150, "bright where it faces the camera"
    page.one("input[name=surface][value=distance]").click()
    # 0.1 of a greatest distance of 0.173 * 0.2 is beyond the scale: yellow, on the run's mesh and on the truth
    for part in seen():
        r, g, b = part[part.shape[0] // 2, part.shape[1] // 2]
        assert min(r, g) > b + 90
    assert "0.0346 and more" in page.one(".scale").text
    page.js("const s = document.getElementById('reach'); s.value = 1; s.dispatchEvent(new Event('input'))")
    for part in seen():  # 0.1 of 0.173: the ramp's green
        r, g, b = part[part.shape[0] // 2, part.shape[1] // 2]
        assert g > r + 40
    whole = seen()
    page.one("#wire").click()
    assert (np.abs(seen()[1] - whole[1]).sum(-1) > 60).mean() > 0.02
    page.one("#wire").click()
    page.one("#truth").click()
    page.until(lambda: page.texts(".window strong")[:1] != ["ground truth"])
    page.one("#save-meshes").click()


def test_a_click_on_a_mesh_shows_the_spot_in_the_pictures(page: Page) -> None:
    from selenium.webdriver import ActionChains

    page.open("meshes", "&v.surface=grey&v.truth=0")
    page.until(lambda: page.one("#mesh-canvas").get_attribute("data-ready"))
    window, canvas = page.one(".window"), page.one("#mesh-canvas")
    dx = window.location["x"] + window.size["width"] / 2 - canvas.location["x"] - canvas.size["width"] / 2
    dy = window.location["y"] + window.size["height"] / 2 - canvas.location["y"] - canvas.size["height"] / 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, round(dx), round(dy)).click().perform()
    page.until(lambda: page.all("#spot section"))
    point = np.array([float(x) for x in page.js("return isosweep.state.view.spot").split(",")])
    # the page's camera looks at the centre of the meshes, and the ray through the window's centre leaves the ball there
    assert np.linalg.norm(point - 1.1 * FRONT) < 0.03
    u, v, w = np.array(camera()["matrix"]) @ [*point, 1]
    said = [float(x) for x in page.one("#spot section").get_attribute("data-pixel").split(",")]
    assert said == pytest.approx([u / w, v / w], abs=1e-3)
    assert said == pytest.approx([180, 110], abs=2), "its camera looks from there, too"
    for hole in page.all("#spot .hole"):
        # where the cross is on the picture, measured on the screen
        boxes = "return ['img', '.cross'].map(s => arguments[0].querySelector(s).getBoundingClientRect())"
        image, cross = page.js(f"{boxes}.map(r => [r.x, r.y, r.width, r.height])", hole)
        x, y = ((cross[k] + cross[k + 2] / 2 - image[k]) / image[k + 2] for k in (0, 1))
        assert [400 * x, 200 * y] == pytest.approx(said, abs=2)
    assert page.texts("#spot figcaption")[0] == "ground truth"
    assert "hides it" not in page.one("#spot h3").text
    behind = (-1.1 * FRONT).tolist()
    page.open("meshes", f"&v.surface=grey&v.spot={','.join(map(str, behind))}")
    page.until(lambda: page.all("#spot section"))
    assert "the mesh hides it from here" in page.one("#spot h3").text


def test_the_ledger_has_every_published_figure_as_a_link_and_ours_beside_them(
    driver: Any, tmp_path: Path
) -> None:
    put(
        tmp_path / "runs", *(record(scene=s, model=m, label=m, values={"nvs/psnr": v}, run_key=m + s)
        for m, v in (("nerf", 30.0), ("neus", 32.0)) for s in ("chair", "lego")),
    )  # fmt: skip
    head = "method,dataset,metric,origin,setting,protocol,chair,lego,mean,source,link,status"
    lines = [
        "NeRF,demo,nvs/psnr,paper,,p,33,31,32.0,the paper,https://example.org/paper,checked",
        "NeRF,demo,nvs/psnr,independent,by others,p,30,28,28.0,a blog,javascript:alert(1),checked",
        "Other,demo,nvs/psnr,authors,their code,p,,,35.0,a page,https://example.org/code,checked",
    ]
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "demo.csv").write_text("\n".join([head, *lines]))
    request = TableRequest((str(tmp_path / "runs"),), tmp_path, published=tmp_path / "published")
    make_page(request, tmp_path / "page", PageLimits())
    page = Page(driver, tmp_path / "page", tmp_path)
    page.open("table")
    rows = page.texts(".ledger tbody tr th")
    assert rows == ["NeRF", "Other"]
    assert page.texts(".ledger tbody tr:first-child li") == [
        "32.0 paper", "28.0 independent, by others", "30.00 ours, nerf",
    ]  # fmt: skip
    assert (
        page.texts(".ledger tbody tr:last-child li")[-1] == "32.00 ours, neus"
    )  # none is called so: our best
    links = page.js("return [...document.querySelectorAll('.ledger a')].map(a => a.getAttribute('href'))")
    assert links == ["https://example.org/paper", "https://example.org/code"]
    places = page.js(
        "return [...document.querySelector('.ledger svg').querySelectorAll('.mark')]"
        ".map(m => [m.classList[1], Number(m.getAttribute('transform').match(/[0-9.]+/)[0])])"
    )
    assert places == [
        ["paper", 210.0],
        ["independent", 10.0],
        ["ours", 110.0],
    ]  # of 28 to 32, 30 is the middle
    assert page.texts("#panel h2").count("Reproduction ledger") == 1
    try:
        for width in (1280, 390):
            size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            page.open("table")
            assert page.js("return document.documentElement.scrollWidth") <= width
            page.shot(f"ledger-{width}")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
