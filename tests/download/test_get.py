"""Scenes out of archives on a server that has its moods: whole and right, or nothing at their place."""

import errno
import hashlib
import json
import shlex
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from isosweep.download import unpack
from isosweep.download.server import DownloadError, Server
from tests.download.shop import CHAIR, FILES, Told, getter, left_over, shop, there, zipped
from tests.download.shop import WITH_README_OF_CHAIR as WITH_README
from tests.support.file_server import serving


def test_one_scene_costs_the_directory_and_its_own_bytes(tmp_path: Path) -> None:
    files = {"before.bin": bytes(range(256)) * 4000} | FILES
    store = shop({n.replace(".bin", ".png"): d for n, d in files.items()})  # stored, so that it has its size
    with serving(store) as address:
        folder, new = getter(address, tmp_path).get("chair")
    assert new
    assert folder == tmp_path / "blender" / "chair"
    assert there(folder) == WITH_README
    assert left_over(tmp_path) == []
    whole = len(store.files["/data.zip"])
    assert store.sent < 0.35 * whole
    assert len(store.asked) <= 5  # the first byte, the directory, two groups of bytes


def test_the_bar_is_told_what_comes(tmp_path: Path) -> None:
    with serving(shop()) as address:
        one = getter(address, tmp_path)
        one.get("chair")
    assert isinstance(one.bar, Told)
    assert one.bar.done == one.bar.total > sum(map(len, CHAIR.values())) * 0.5


def test_a_whole_scene_is_not_asked_for_again(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        getter(address, tmp_path).get("chair")
        count = len(store.asked)
        assert getter(address, tmp_path).get("chair") == (tmp_path / "blender" / "chair", False)
        assert len(store.asked) == count
        (tmp_path / "blender" / "chair" / "train" / "r_0.png").write_bytes(b"short")
        folder, new = getter(address, tmp_path).get("chair")
    assert new
    assert there(folder) == WITH_README


def test_a_cut_connection_goes_on_at_the_next_byte(tmp_path: Path) -> None:
    store = shop()
    store.cut_after = [500, 9000, 100, 20_000]
    with serving(store) as address:
        folder, _ = getter(address, tmp_path).get("chair")
    assert there(folder) == WITH_README
    again = [asked for _, asked in store.asked if asked and not asked.startswith("bytes=0-0")]
    assert len(again) >= 5
    assert len(set(again)) == len(again)  # never the same bytes twice


def test_a_command_that_was_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        whole = getter(address, tmp_path / "other")
        whole.get("chair")
        assert isinstance(whole.bar, Told)
        total, store.sent = whole.bar.total, 0
        # the directory comes, then the server dies in the middle of the first large member
        first = getter(address, tmp_path, tries=1)
        look = first._source(first.benchmark.scenes["chair"][0].archive)
        assert look[0].size == len(store.files["/data.zip"])
        store.cut_after = [10**9, 25_000]
        with pytest.raises(DownloadError, match="goes on where it was cut"):
            first.get("chair")
        assert not (tmp_path / "blender" / "chair").exists()
        second = getter(address, tmp_path)
        folder, _ = second.get("chair")
    assert there(folder) == WITH_README
    assert isinstance(second.bar, Told)
    assert second.bar.total <= total - 24_000
    assert left_over(tmp_path) == []


def test_an_archive_that_was_changed_in_between_begins_anew(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        first = getter(address, tmp_path, tries=1)
        first._source(first.benchmark.scenes["chair"][0].archive)
        store.cut_after = [10**9, 25_000]
        with pytest.raises(DownloadError):
            first.get("chair")
        changed = FILES | {"data/chair/train/r_0.png": bytes(30_000)}
        store.files["/data.zip"], store.version = zipped(changed), '"two"'
        second = getter(address, tmp_path)
        folder, _ = second.get("chair")
    assert there(folder)["train/r_0.png"] == bytes(30_000)
    assert isinstance(second.bar, Told)
    assert "the archive was changed since the last try" in second.bar.said


def test_an_archive_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    store = shop()
    store.wrong_total = 7
    with (
        serving(store) as address,
        pytest.raises(DownloadError, match="the file was changed on the server"),
    ):
        getter(address, tmp_path).get("chair")


def test_a_server_without_ranges_offers_the_whole_with_its_size(tmp_path: Path) -> None:
    store = shop()
    store.ranges = False
    with serving(store) as address:
        with pytest.raises(
            DownloadError, match=r"gives no parts of a file .*one scene means all of its 8\d\d\.\d kB"
        ):
            getter(address, tmp_path).get("chair")
        whole = getter(address, tmp_path, whole=True)
        folder, _ = whole.get("chair")
        asked = len(store.asked)
        whole.get("drums")
        assert len(store.asked) == asked  # the archive is there
        whole.clean()
    assert there(folder) == WITH_README
    assert left_over(tmp_path) == []


def test_without_ranges_a_cut_is_told(tmp_path: Path) -> None:
    store = shop()
    store.ranges = False
    with serving(store) as address:
        one = getter(address, tmp_path, whole=True)
        store.cut_after = [10**9, 5000]  # the first request asks for the first byte only
        with pytest.raises(DownloadError, match=r"gives no parts, so it has to begin anew"):
            one.get("chair")
    assert not (tmp_path / "blender" / "chair").exists()


def test_a_whole_archive_is_resumed_and_its_checksum_compared(tmp_path: Path) -> None:
    store = shop()
    right = hashlib.sha256(store.files["/data.zip"]).hexdigest()
    with serving(store) as address:
        store.cut_after = [100_000, 100_000, 50_000]
        one = getter(address, tmp_path, whole=True, sha256=right)
        folder, _ = one.get("chair")
        assert there(folder) == WITH_README
        with pytest.raises(DownloadError, match=rf"has the SHA-256 {right}, and 000 is known"):
            getter(address, tmp_path / "b", whole=True, sha256="000").get("chair")
    assert not list((tmp_path / "b").rglob("*.zip*"))


def test_an_archive_that_somebody_downloaded_by_hand(tmp_path: Path) -> None:
    mine = tmp_path / "data.zip"
    mine.write_bytes(zipped(FILES))
    one = getter("http://127.0.0.1:9", tmp_path, archives={"data.zip": mine})
    folder, _ = one.get("chair")
    one.clean()
    assert there(folder) == WITH_README
    assert mine.exists()


def test_an_archive_of_another_size_than_known(tmp_path: Path) -> None:
    with serving(shop()) as address:
        with pytest.raises(DownloadError, match=r"bytes, and the archive that this command knows has 12"):
            getter(address, tmp_path, size=12).get("chair")
        getter(address, tmp_path, size=12, changed=True).get("chair")


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>Too many users", "its download quota is used up"),
        (b"\n <html><title>Sign in - Google</title>accounts.google.com", "a login page \\('Sign in - Google'\\)"),
        (b"<html><title>Moved</title>We have a new site", "a page \\('Moved'\\), no file"),
    ],
)  # fmt: skip
def test_a_page_in_place_of_the_file(tmp_path: Path, page: bytes, told: str) -> None:
    store = shop()
    store.pages["/data.zip"] = page
    with serving(store) as address, pytest.raises(DownloadError, match=told):
        getter(address, tmp_path).get("chair")
    store.pages.clear()
    store.files["/data.zip"] = page  # sent as if it were the file
    with serving(store) as address, pytest.raises(DownloadError, match=told):
        getter(address, tmp_path).get("chair")
    assert not (tmp_path / "blender" / "chair").exists()


def test_google_drives_page_about_viruses_is_passed(tmp_path: Path) -> None:
    store = shop()
    store.pages["/data.zip"] = (
        b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
        b"Google Drive can't scan this file for viruses."
        b'<form id="download-form" action="/download" method="get"><input type="submit" value="Download anyway"/>'
        b'<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">'
        b'<input type="hidden" name="uuid" value="1-2"></form></body></html>'
    )
    store.files["/download?id=abc&confirm=t&uuid=1-2"] = store.files["/data.zip"]
    with serving(store) as address:
        folder, _ = getter(address, tmp_path).get("chair")
    assert there(folder) == WITH_README


def test_something_that_is_no_zip(tmp_path: Path) -> None:
    store = shop()
    store.files["/data.zip"] = b"Rar!" + bytes(5000)
    with (
        serving(store) as address,
        pytest.raises(DownloadError, match=r"is no whole zip .*begins with b'Rar!"),
    ):
        getter(address, tmp_path).get("chair")


def test_a_zip_that_was_cut_short(tmp_path: Path) -> None:
    store = shop()
    store.files["/data.zip"] = store.files["/data.zip"][:-500]
    with serving(store) as address, pytest.raises(DownloadError, match="is no whole zip"):
        getter(address, tmp_path).get("chair")


def test_a_damaged_member_is_fetched_once_more_and_then_told(tmp_path: Path) -> None:
    store = shop()
    good = store.files["/data.zip"]
    place = good.index(CHAIR["train/r_0.png"]) + 100
    store.files["/data.zip"] = good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :]
    with serving(store) as address:
        with pytest.raises(DownloadError, match=r"data/chair/train/r_0\.png: its CRC is .*, twice"):
            getter(address, tmp_path).get("chair")
        assert not (tmp_path / "blender" / "chair").exists()
        store.files["/data.zip"] = good
        folder, _ = getter(address, tmp_path).get("chair")
    assert there(folder) == WITH_README


@pytest.mark.parametrize(
    "name", ["data/chair/../../../evil.txt", "data/chair/..\\evil.txt", "data/chair//evil", "data/chair/C:/x"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with (
        serving(shop(FILES | {name: b"evil"})) as address,
        pytest.raises(DownloadError, match="leads out of the scene's folder"),
    ):
        getter(address, tmp_path / "root").get("chair")
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(tmp_path.rglob("*.png"))


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    store = shop()
    link = zipfile.ZipInfo("data/chair/train/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    file = tmp_path / "data.zip"
    file.write_bytes(store.files["/data.zip"])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    one = getter("http://127.0.0.1:9", tmp_path, archives={"data.zip": file})
    with pytest.raises(DownloadError, match="link is a link or a device"):
        one.get("chair")


def test_a_member_that_grows_beyond_its_size_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "data.zip"
    data = bytearray(zipped({"data/chair/a.txt": bytes(100_000), "README.txt": b"x"}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")  # the directory says 10 bytes
    file.write_bytes(data)
    one = getter("http://127.0.0.1:9", tmp_path, archives={"data.zip": file})
    with pytest.raises(DownloadError, match="unpacks to more than the 10 bytes"):
        one.get("chair")


def test_too_little_space_is_told_before_anything_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda path: free)
    store = shop()
    with (
        serving(store) as address,
        pytest.raises(DownloadError, match=r"has 50\.0 kB free, and the scene needs 1\d\d"),
    ):
        getter(address, tmp_path).get("chair")
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shop()
    real = unpack.os.replace
    moved: list[str] = []

    def full(source: Path, target: Path) -> None:
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(str(target))
        real(source, target)

    with serving(store) as address:
        monkeypatch.setattr(unpack.os, "replace", full)
        with pytest.raises(
            DownloadError, match=r"No space left on device; free space .*goes on where it was cut"
        ):
            getter(address, tmp_path).get("chair")
        assert not (tmp_path / "blender" / "chair").exists()
        monkeypatch.setattr(unpack.os, "replace", real)
        folder, _ = getter(address, tmp_path).get("chair")
    assert there(folder) == WITH_README


def test_one_size_of_the_images_and_later_the_others(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        folder, _ = getter(address, tmp_path, images="images_8").get("chair")
        assert not (folder / "images").exists()
        assert (folder / "images_8" / "a.png").exists()
        with pytest.raises(DownloadError, match=r"has no folder images_3; it has images, images_8"):
            getter(address, tmp_path / "b", images="images_3").get("chair")
        sent = store.sent
        folder, new = getter(address, tmp_path).get("chair")
        assert new
        assert store.sent - sent < 0.5 * len(store.files["/data.zip"])
        assert getter(address, tmp_path).get("chair")[1] is False
    assert there(folder) == WITH_README


def test_half_a_folder_of_an_earlier_try_does_not_stay(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        staging = tmp_path / "blender" / ".chair.download" / "scene" / "images"
        staging.mkdir(parents=True)
        (staging / "half.png").write_bytes(b"half")
        folder, _ = getter(address, tmp_path, images="images_8").get("chair")
    assert not list(folder.rglob("half.png"))


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "blender" / "chair"
    mine.mkdir(parents=True)
    (mine / "a.json").write_text("mine")
    with pytest.raises(DownloadError, match=r"exists, and this command did not make it"):
        getter("http://127.0.0.1:9", tmp_path).get("chair")
    assert (mine / "a.json").read_text() == "mine"


def test_a_folder_that_the_archive_lacks(tmp_path: Path) -> None:
    with (
        serving(shop({"x/lego/a.json": b"{}", "README.txt": b""})) as address,
        pytest.raises(DownloadError, match=r"has no folder chair; it has README\.txt, x/lego"),
    ):
        getter(address, tmp_path).get("chair")


def test_what_is_optional_may_be_absent(tmp_path: Path) -> None:
    with serving(shop({n: d for n, d in FILES.items() if n != "README.txt"})) as address:
        folder, _ = getter(address, tmp_path).get("chair")
    assert there(folder) == CHAIR


def test_several_scenes_read_the_directory_once(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        one = getter(address, tmp_path)
        one.get("chair")
        first = len(store.asked)
        one.get("drums")
    assert len(store.asked) - first <= 2  # two groups of bytes


def test_statuses_of_servers(tmp_path: Path) -> None:
    store = shop()
    with serving(store) as address:
        store.statuses = [(503, {"Retry-After": "0"}, b""), (429, {}, b"")]
        getter(address, tmp_path).get("chair")  # busy, then not
        store.statuses = [(503, {}, b"")] * 3
        with pytest.raises(DownloadError, match=r"answered 503 .*3 times in a row"):
            getter(address, tmp_path / "b").get("chair")
        store.statuses = [(429, {"Retry-After": "3600"}, b"")]
        with pytest.raises(DownloadError, match=r"asks to wait 3600 s: start the same command again then"):
            getter(address, tmp_path / "b").get("chair")
        store.statuses = [(403, {}, b"<html>Quota exceeded</html>")]
        with pytest.raises(DownloadError, match=r"403 .*download quota is used up"):
            getter(address, tmp_path / "b").get("chair")
        store.files.clear()
        with pytest.raises(DownloadError, match=r"404 .*the file is not there any more.*--archive"):
            getter(address, tmp_path / "b").get("chair")


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no connection to 127\.0\.0\.1 .*refused.*3 times in a row"):
        getter("http://127.0.0.1:9", tmp_path).get("chair")


def test_a_second_command_for_the_same_scene_is_refused(tmp_path: Path) -> None:
    import fcntl

    staging = tmp_path / "blender" / ".chair.download"
    staging.mkdir(parents=True)
    with (staging / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another command is downloading chair"):
            getter("http://127.0.0.1:9", tmp_path).get("chair")


def test_a_refused_certificate(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    import ssl
    import threading
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
        ),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(
            DownloadError, match=r"the certificate of localhost was refused .*self.signed.*REQUESTS_CA"
        ):
            Server(tries=1).look(f"https://localhost:{server.server_address[1]}/data.zip")
    finally:
        server.shutdown()
        server.server_close()


def test_the_marker_lists_the_files(tmp_path: Path) -> None:
    with serving(shop()) as address:
        folder, _ = getter(address, tmp_path).get("chair")
    marker = json.loads((folder / ".download-chair.json").read_text())
    assert set(marker["files"]) == set(WITH_README)
    assert marker["from"]["data.zip"]["url"] == f"{address}/data.zip"
