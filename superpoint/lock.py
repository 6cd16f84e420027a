"""A lock on a folder that ends with its process."""

import contextlib
import datetime
import errno
import os
import socket
import sys
import time
from pathlib import Path

from superpoint.errors import UserError

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
ATTEMPTS, PAUSE = 10, 0.05  # who only looks whether a folder is in use holds the lock for an instant
PLACE = 1 << 30  # of the locked byte: beyond the text, which Windows would not let others read

_held: set[Path] = set()  # by this process


class FolderLock:
    """The lock of a folder, on its file `run.lock`, which names the holder; forked processes do not keep it."""

    NAME = "run.lock"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.NAME
        self._file: int | None = None

    def acquire(self) -> str | None:
        """Take the lock; return None, or who holds it.

        Raises: OSError if the folder cannot be written, or has no locks (`errno` in UNSUPPORTED).
        """
        if self.path.resolve() in _held:
            return "this process"
        holder = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if _try_lock(file) and _same_file(file, self.path):
                    _write_holder(file)
                    self._file = file
                    _held.add(self.path.resolve())
                    return None
            except OSError:
                os.close(file)
                self.path.unlink(missing_ok=True)
                raise
            holder = _read_holder(file)
            os.close(file)
        return holder or "another process"

    def claim(self, doing: str) -> None:
        """Take the lock; where the file system has none, warn.

        Raises: UserError if the folder cannot be written, or another process is `doing` it.
        """
        try:
            holder = self.acquire()
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise UserError(f"{self.path.parent}: cannot be written ({error.strerror or error})") from error
            print(f"warning: {self.path.parent}: its file system has no locks; use it once at a time", file=sys.stderr)
            holder = None
        if holder is not None:
            raise UserError(f"{self.path.parent}: {holder} {doing}; wait for it, or end it")

    def release(self) -> None:
        """Give back the lock, if held, and remove its file."""
        if self._file is None:
            return
        _held.discard(self.path.resolve())
        with contextlib.suppress(OSError):  # Windows does not remove an open file; without the lock it bars nobody
            self.path.unlink()
        os.close(self._file)
        self._file = None

    def holder(self) -> str | None:
        """Return who holds the lock, or None."""
        if self.path.resolve() in _held:
            return describe_process()
        try:
            file = os.open(self.path, os.O_RDWR)
        except OSError:
            return None
        try:
            return None if _try_lock(file) else _read_holder(file) or "another process"
        except OSError:
            return None
        finally:
            os.close(file)


def describe_process() -> str:
    """Return number, machine and time of this process in words."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S} UTC"


def _try_lock(file: int) -> bool:
    """Lock one byte of the open file; False if another process has it. Raises OSError if there are no locks."""
    if sys.platform == "win32":
        import msvcrt  # on Windows only

        os.lseek(file, PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    import fcntl  # there is none on Windows

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PLACE)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _same_file(file: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _write_holder(file: int) -> None:
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, describe_process().encode())


def _read_holder(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 500).decode(errors="replace").strip()
