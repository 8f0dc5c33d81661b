"""Downloads with Python's standard library: resumed where they broke off, checked, and whole or not there at all.

What has arrived lies in NAME.part beside its place, and is moved there once its size and md5 are right. A killed
download leaves NAME.part, from which the next one goes on.
"""
import contextlib
import errno
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request

TIMEOUT = 30.0  # seconds without an answer, or for each SLOWEST bytes
SLOWEST = 1 << 14
ATTEMPTS = 3  # at one address, as long as each brings something
CHUNK = 1 << 16
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # errors that no other address helps against


class DownloadError(OSError):
    """No address had the file; the message is one line."""


class _Refused(Exception):
    """An address that does not have what is wanted; there is no use in asking again."""


def fetch(urls, path, size, md5, timeout=TIMEOUT, progress=True):
    """Download a file of `size` bytes with this md5 to path, from the first of the urls that has it.

    timeout: seconds that a server may keep silent. progress: a bar on stderr, where that is a terminal.
    Raises DownloadError, with what each address said, where none had it, and OSError where the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    with open(part, "ab") as file:
        lock(file, part)
        for url in urls:
            try:
                _from(url, file, size, md5, timeout, progress)
                break
            except (_Refused, OSError, http.client.HTTPException, ValueError) as error:
                if getattr(error, "errno", None) in DISK:
                    raise
                reasons.append(f"{url}: {_reason(error)}")
        else:
            if not file.tell():
                part.unlink()
            raise DownloadError(f"cannot download {path.name} ({'; '.join(reasons)})")
        os.fsync(file.fileno())
        os.replace(part, path)


def lock(file, part):
    """DownloadError if another process is writing this file."""
    with contextlib.suppress(ImportError):  # not on Windows
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{part} is being downloaded by another process") from None
    file.seek(0, os.SEEK_END)


def _reason(error):
    """An error in a few words, on one line."""
    text = str(getattr(error, "reason", error)) or type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        text = f"HTTP {error.code} {text}"
    return " ".join(text.split())


def _from(url, file, size, md5, timeout, progress):
    """Bring the file at this address to its full size and check it, or raise what was wrong."""
    found = file.tell()
    if found > size:
        file.truncate(0)
        found = file.seek(0)
    for attempt in range(ATTEMPTS):
        before = file.tell()
        try:
            if before < size:
                _receive(url, file, size, timeout, progress)
            if file.tell() == size:
                break
            raise http.client.IncompleteRead(b"", size - file.tell())
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS - 1 or file.tell() <= before:
                if isinstance(error, http.client.IncompleteRead):
                    raise _Refused(f"the connection broke off after {file.tell()} of {size} bytes") from None
                raise
    if md5_of(file.name) != md5:
        file.truncate(0)
        file.seek(0)
        if found:  # what an earlier download left may have been to blame
            return _from(url, file, size, md5, timeout, progress)
        raise _Refused("the file has another checksum than the official one")


def md5_of(path):
    """The md5 of a file, as hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _receive(url, file, size, timeout, progress):
    """Append to the file what is left of it, as far as the connection lasts."""
    have = file.tell()
    headers = {"User-Agent": "minigrad", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
        if have and not _continues(response, have):
            file.truncate(0)
            file.seek(0)
            have = 0
        length = response.headers.get("Content-Length")
        if length is not None and have + int(length) != size:
            raise _Refused(f"announces {have + int(length)} bytes, expected {size}")
        with _bar(file.name, size, have, progress) as bar:
            slow = time.monotonic() + timeout, have + SLOWEST
            while data := response.read1(CHUNK):
                have += len(data)
                if have > size:
                    file.truncate(0)
                    file.seek(0)
                    raise _Refused(f"sends more than the expected {size} bytes")
                file.write(data)
                file.flush()
                bar.update(len(data))
                if have >= slow[1]:
                    slow = time.monotonic() + timeout, have + SLOWEST
                elif time.monotonic() > slow[0]:
                    raise TimeoutError(f"less than {SLOWEST} bytes in {timeout:g} seconds")


def _continues(response, have):
    """Whether an answer to a request for a range begins where it should; a server may send the whole file instead."""
    if response.status != 206:
        return False
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not start or int(start[1]) != have:
        raise _Refused("answers with another part of the file than the one asked for")
    return True


def _bar(name, size, have, progress):
    from tqdm import tqdm

    disable = None if progress and sys.stderr else True  # None: no bar unless stderr is a terminal
    label = os.path.basename(name).removesuffix(".part")
    return tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=label, leave=False, disable=disable)
