"""Downloads from a local server that truncates, stalls, corrupts, redirects, drops connections and ignores ranges."""
import contextlib
import gzip
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

from minigrad import cli, data
from minigrad.data import catalogue, download, install, sources
from minigrad.data.catalogue import Entry, Fetch, File, Folder

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/MODE/NAME: the file NAME of the server's `files`, or BODY, in the manner of MODE."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, (_, mode, name) = self.server, self.path.split("/", 2)
        start = self.headers.get("Range")
        server.asked.append((mode, start))
        body = server.files.get(name, BODY)
        if mode == "missing":
            return self.send_error(404)
        if mode == "failing":
            return self.send_error(500)
        if mode == "redirects":
            return self.answer(302, b"", {"Location": f"/good/{name}"})
        if mode == "loops":
            return self.answer(302, b"", {"Location": self.path})
        if mode == "elsewhere":
            return self.answer(302, b"", {"Location": "file:///etc/passwd"})
        if mode == "garbage":
            self.close_connection = True
            return self.wfile.write(b"\0\1\2\r\n\r\n")
        if mode == "html":
            return self.answer(200, b"<html>Please log in</html>")
        if mode == "endless":
            return self.endless()
        if mode == "corrupt" or (mode == "corrupts once" and server.asked.count((mode, start)) == 1):
            body = body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]
        first = int(start[6:-1]) if start and mode != "ignores" else 0
        headers = {"Content-Range": f"bytes {first + (mode == 'shifted')}-{len(body) - 1}/{len(body)}"} if first else {}
        limit = {"truncates": 100_000, "drops": 120_000, "stalls": 100_000, "drips": 10}.get(mode, len(body))
        self.answer(206 if first else 200, body[first:], headers, min(limit, len(body) - first), mode)

    def answer(self, code, body, headers=(), limit=None, mode="good"):
        self.send_response(code)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:limit])
        if mode == "stalls":
            self.server.over.wait(20)
        while mode == "drips" and not self.server.over.wait(0.05):
            self.wfile.write(b"x")
        if limit is not None and limit < len(body) and mode != "truncates":
            self.close_connection = True
        if mode == "truncates":
            self.close_connection = True
            if "Range" in self.headers:  # never more than the first bytes
                return

    def endless(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.over.is_set():
            self.wfile.write(bytes(1 << 16))

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(OSError):  # the client has hung up
            super().handle()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.files, server.over = [], {}, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def fetch(server, path, *modes, timeout=0.5):
    download.fetch([f"{server.url}{mode}/file" for mode in modes], path, len(BODY), MD5, timeout, progress=False)


@pytest.mark.parametrize(("modes", "asked"), [
    (["good"], ["good"]),
    (["redirects"], ["redirects", "good"]),
    (["missing", "failing", "html", "good"], ["missing", "failing", "html", "good"]),
    (["loops", "elsewhere", "garbage", "good"], None),
    (["corrupt", "good"], ["corrupt", "good"]),
    (["drops"], ["drops"] * 3),
    (["ignores"], ["ignores"]),
    (["truncates", "good"], ["truncates"] * 3),
    (["stalls", "good"], ["stalls"] * 3),
    (["drips", "good"], ["drips"] * 3 + ["good"] * 2),  # what drips is not the file
    (["endless", "good"], ["endless", "good"]),
])
def test_a_file_arrives_whole_whatever_some_servers_do(server, tmp_path, modes, asked):
    path = tmp_path / "new" / "file"
    fetch(server, path, *modes)
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == ["file"]
    if asked is not None:
        assert [mode for mode, _ in server.asked] == asked


@pytest.mark.parametrize(("mode", "reason"), [
    ("missing", "HTTP 404 Not Found"), ("failing", "HTTP 500 Internal Server Error"), ("html", "announces 26 bytes"),
    ("corrupt", "another checksum"), ("endless", "more than the expected 300000 bytes"), ("elsewhere", "HTTP 302"),
    ("garbage", "."), ("loops", "HTTP 302"), ("drips", "less than 16384 bytes in 0.5 seconds"),
])
def test_what_no_server_has_is_an_error_in_one_line_and_no_file(server, tmp_path, mode, reason):
    with pytest.raises(download.DownloadError, match=reason) as caught:
        fetch(server, tmp_path / "file", mode)
    assert "cannot download file" in str(caught.value) and server.url in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "file").exists()


def test_a_download_goes_on_where_it_broke_off(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:200_000])
    fetch(server, tmp_path / "file", "good")
    assert server.asked == [("good", "bytes=200000-")]
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("left", [b"x" * 1000, BODY + b"x", b"x" * len(BODY), BODY[:999] + b"\0" + BODY[1000:200_000]],
                         ids=["another start", "too long", "another file", "damaged"])
@pytest.mark.parametrize("mode", ["good", "ignores"])
def test_what_is_left_of_another_download_does_no_harm(server, tmp_path, left, mode):
    (tmp_path / "file.part").write_bytes(left)
    fetch(server, tmp_path / "file", mode)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_server_that_answers_with_another_range_is_left(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    with pytest.raises(download.DownloadError, match="another part of the file"):
        fetch(server, tmp_path / "file", "shifted")


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / "file.part").write_bytes(BODY)
    download.fetch(["http://127.0.0.1:9/file"], tmp_path / "file", len(BODY), MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_two_processes_do_not_write_one_file(server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / "file.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(download.DownloadError, match="being downloaded by another process"):
            fetch(server, tmp_path / "file", "good")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_killed_download_never_looks_whole_and_can_be_resumed(server, tmp_path, name):
    code = ("import sys; from pathlib import Path; from minigrad.data import download\n"
            f"download.fetch(['{server.url}stalls/file'], Path(sys.argv[1]), {len(BODY)}, '{MD5}', 20)")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file")], stderr=subprocess.DEVNULL)
    part, deadline = tmp_path / "file.part", time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    assert process.wait(20) != 0
    assert os.listdir(tmp_path) == ["file.part"]
    fetch(server, tmp_path / "file", "good")
    assert server.asked[-1] == ("good", "bytes=100000-")
    assert (tmp_path / "file").read_bytes() == BODY


# --- whole data sets


def tar(members):
    """A .tar.gz of [(TarInfo, bytes or None)]."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content) if content is not None else None)
    return raw.getvalue()


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content if info.isreg() else None


RECORDS = np.random.default_rng(1).integers(0, 3, (5, 3073), dtype=np.uint8).tobytes()


def little(server, archive, mirrors=("good",)):
    """CIFAR-10 of one file for training and one for testing, from the server."""
    server.files["little.tar.gz"] = archive
    files = [File(name, len(RECORDS), hashlib.md5(RECORDS).hexdigest()) for name in ("one.bin", "two.bin")]
    return catalogue.CIFAR10._replace(
        folders=(Folder("little-bin", "cifar", tuple(files[:1]), tuple(files[1:])),),
        mirrors=tuple(f"{server.url}{mode}/" for mode in mirrors),
        fetches=(Fetch("little.tar.gz", len(archive), hashlib.md5(archive).hexdigest()),),
    )


GOOD = tar([member("little-bin", type=tarfile.DIRTYPE), member("little-bin/one.bin", RECORDS),
            member("little-bin/readme.html", b"<html>"), member("./little-bin/two.bin", RECORDS)])


def test_an_archive_is_downloaded_unpacked_and_read(server, tmp_path):
    entry = little(server, GOOD, ("missing", "good"))
    with pytest.raises(FileNotFoundError, match=r"CIFAR10: no one.bin in .*little-bin .*--download"):
        sources.read(entry, tmp_path)
    for train in (True, False):
        images, labels = sources.read(entry, tmp_path, train, download=True)
        np.testing.assert_array_equal(images.reshape(5, -1), np.frombuffer(RECORDS, np.uint8).reshape(5, -1)[:, 1:])
        assert labels.tolist() == np.frombuffer(RECORDS, np.uint8)[::3073].tolist()
    assert [mode for mode, _ in server.asked] == ["missing", "good"]
    assert sorted(os.listdir(tmp_path / "little-bin")) == ["one.bin", "two.bin"]
    assert os.stat(tmp_path / "little-bin").st_mode & 0o777 == 0o755


def test_an_archive_put_there_by_hand_is_unpacked_without_a_download(server, tmp_path):
    entry = little(server, GOOD)
    (tmp_path / "little.tar.gz").write_bytes(GOOD)
    assert len(sources.read(entry, tmp_path)[0]) == 5
    assert not server.asked


def test_offline_the_error_says_in_one_line_where_to_put_the_files(tmp_path, capsys, monkeypatch):
    offline = catalogue.MNIST._replace(mirrors=("http://127.0.0.1:9/", "http://no-such-host.invalid/"))
    monkeypatch.setattr(catalogue, "MNIST", offline)
    with pytest.raises(OSError, match="or put the file into") as caught:
        data.MNIST(tmp_path, download=True)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and "train-images-idx3-ubyte.gz" in text and str(tmp_path / "mnist") in text
    assert not os.listdir(tmp_path / "mnist")
    options = ["train", "--model", "convnet", "--dataset", "mnist", "--data-root", str(tmp_path), "--download"]
    assert cli.main(options) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def idx(*shape):
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + bytes(int(np.prod(shape)))


RAW = dict(zip(catalogue.IDX_SIZES, (idx(3, 28, 28), idx(3), idx(2, 28, 28), idx(2)), strict=True))
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in RAW.items()}


def little_mnist(server):
    """MNIST of three and two images, from the server."""
    server.files.update(PACKED)
    return catalogue.MNIST._replace(
        mirrors=(server.url + "good/",),
        fetches=tuple(Fetch(name, len(p), hashlib.md5(p).hexdigest()) for name, p in PACKED.items()),
        folders=tuple(f._replace(train=tuple(x._replace(md5=None) for x in f.train),
                                 test=tuple(x._replace(md5=None) for x in f.test)) for f in catalogue.MNIST.folders),
    )


def test_files_that_are_there_are_not_fetched_again(server, tmp_path):
    entry = little_mnist(server)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(RAW["train-labels-idx1-ubyte"])
    images, labels = sources.read(entry, tmp_path, download=True)
    assert images.shape == (3, 1, 28, 28) and labels.tolist() == [0, 0, 0]
    assert len(server.asked) == 3
    assert sources.read(entry, tmp_path, False, download=True)[0].shape == (2, 1, 28, 28)
    assert len(server.asked) == 3


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"])
def test_damaged_files_are_fetched_again(server, tmp_path, name):
    entry = little_mnist(server)
    (tmp_path / "mnist").mkdir()
    for other, content in PACKED.items():
        (tmp_path / "mnist" / other).write_bytes(content)
    (tmp_path / "mnist" / f"{name.removesuffix('.gz')}.gz").unlink()
    (tmp_path / "mnist" / name).write_bytes({**PACKED, **RAW}[name][:-7])
    with pytest.raises(ValueError, match=name):
        sources.read(entry, tmp_path)
    assert sources.read(entry, tmp_path, download=True)[0].shape == (3, 1, 28, 28)
    assert len(server.asked) == 1
    assert sources.read(entry, tmp_path)[0].shape == (3, 1, 28, 28)


@pytest.mark.parametrize("damaged", ["little.tar.gz", "little-bin/one.bin"])
def test_damaged_archives_and_files_of_archives_are_fetched_again(server, tmp_path, damaged):
    entry = little(server, GOOD)
    (tmp_path / "little-bin").mkdir()
    (tmp_path / "little-bin" / "two.bin").write_bytes(RECORDS)
    (tmp_path / damaged).write_bytes(RECORDS[:-1])
    with pytest.raises(ValueError, match=damaged):
        sources.read(entry, tmp_path)
    assert len(sources.read(entry, tmp_path, download=True)[0]) == 5
    assert (tmp_path / "little-bin" / "one.bin").read_bytes() == RECORDS


def test_offline_a_damaged_file_is_named_too(server, tmp_path):
    entry = little(server, GOOD, ("missing",))
    (tmp_path / "little-bin").mkdir()
    (tmp_path / "little-bin" / "one.bin").write_bytes(b"")
    with pytest.raises(download.DownloadError, match=r"one\.bin.*cannot download little.tar.gz .* by hand$"):
        sources.read(entry, tmp_path, download=True)


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
HOSTILE = {
    "a link": ([member("little-bin/one.bin", size=len(RECORDS), **LINK)], "not a file of"),
    "a hard link": ([member("little-bin/two.bin", RECORDS), member(
        "little-bin/one.bin", type=tarfile.LNKTYPE, linkname="little-bin/two.bin", size=len(RECORDS),
    )], "not a file of"),
    "a device": ([member("little-bin/one.bin", type=tarfile.CHRTYPE)], "not a file of"),
    "short": ([member("little-bin/one.bin", RECORDS[:-1])], "not a file of 15365 bytes"),
    "lacking": ([member("little-bin/one.bin", RECORDS)], "there is no little-bin/two.bin"),
    "above": ([member("../little-bin/one.bin", RECORDS), member("/little-bin/two.bin", RECORDS)], "there is no"),
    "a bomb": ([member("zeros", bytes(3_000_000))], "expands to more"),
    "twice": ([member("little-bin/one.bin", RECORDS)] * 2, "there is no little-bin/two.bin"),
    "nothing": ([], "there is no"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(server, tmp_path, case):
    members, message = HOSTILE[case]
    entry = little(server, tar(members))
    with pytest.raises(ValueError, match=f"little.tar.gz: not the archive it should be: .*{message}"):
        sources.read(entry, tmp_path, download=True)
    assert os.listdir(tmp_path) == ["little.tar.gz"]


def test_links_and_paths_beside_the_files_are_not_unpacked(server, tmp_path):
    extra = [member("../outside", b"x"), member("/tmp/outside", b"x"), member("little-bin/../../x", b"x"),
             member("little-bin/link", **LINK)]
    entry = little(server, tar([*extra, member("little-bin/one.bin", RECORDS), member("little-bin/two.bin", RECORDS)]))
    sources.read(entry, tmp_path / "root", download=True)
    assert sorted(os.listdir(tmp_path / "root" / "little-bin")) == ["one.bin", "two.bin"]
    assert os.listdir(tmp_path) == ["root"]


@pytest.mark.parametrize("seed", range(60))
def test_damaged_archives_give_an_error_or_the_files(tmp_path, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(gzip.decompress(GOOD) if seed % 2 else GOOD)
    for place in rng.integers(0, len(raw) if seed % 3 else 1500, rng.integers(1, 20)):
        raw[place] = rng.integers(0, 256)
    raw = raw[: rng.integers(1, len(raw) + 1)] if seed % 5 == 0 else raw
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(raw) if seed % 2 else raw)
    sizes = dict.fromkeys(("one.bin", "two.bin"), len(RECORDS))
    try:
        install.extract(tmp_path / "a.tar.gz", tmp_path / "little-bin", sizes)
    except ValueError as error:
        assert "a.tar.gz" in str(error)
        assert os.listdir(tmp_path) == ["a.tar.gz"]
    else:
        assert {p.name: p.stat().st_size for p in (tmp_path / "little-bin").iterdir()} == sizes


def test_the_table_is_whole():
    names = []
    for entry in catalogue.ENTRIES.values():
        assert isinstance(entry, Entry) and len(entry.mean) == len(entry.std) == entry.shape[0]
        assert all(url.endswith("/") for url in entry.mirrors) and len(set(entry.classes)) == len(entry.classes)
        sums = [f.md5 for f in entry.fetches] + [f.md5 for d in entry.folders for f in (*d.train, *d.test) if f.md5]
        assert all(len(md5) == 32 and int(md5, 16) for md5 in sums)
        names += {fetch.md5 for fetch in entry.fetches}
        for folder in entry.folders:
            if folder.reader == "cifar":
                assert sum(f.size for f in folder.train) == 50_000 * (entry.labels + 3072)
                assert sum(f.size for f in folder.test) == 10_000 * (entry.labels + 3072)
    assert len(set(names)) == len(names)
