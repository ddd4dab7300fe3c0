"""Say in one line what no command foresaw, and keep its traceback in a file.

A disk that is full or broken, and a path that leads nowhere, are named with the file that was being
written or read. Anything else is a mistake of this project: the line names the file that holds the
traceback. Prints nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import traceback

_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE}
_PATHS = {errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR}
MOST_SIGNS = 300
"""Of an error's own text in the line; the file has all of it."""


def line_about(error: Exception) -> str:
    """Return one line about an error outside this project's family, and keep its traceback.

    Args:
        error: as it was caught.
    """
    if isinstance(error, OSError) and error.errno in _ROOM | _ACCESS | _PATHS:
        return _about_output(error) if _came_from_printing(error) else _about_disk(error)
    text = " ".join(str(error).split())
    shown = text if len(text) <= MOST_SIGNS else f"{text[:MOST_SIGNS]} …"
    what = f"{type(error).__name__}: {shown}" if shown else type(error).__name__
    return f"this should not happen, but {what}; please report it with {_kept(error)}"


def flushed_output() -> str | None:
    """Write what standard output still holds; return what is wrong if that fails, else None.

    Nothing is printed by the interpreter at its end then.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if error.errno == errno.EPIPE:  # whoever read it has seen enough
            return None
        return _about_output(error)
    return None


def _came_from_printing(error: OSError) -> bool:
    """Whether the error was raised where nothing but the answer is written."""
    frames = list(traceback.walk_tb(error.__traceback__))
    module = str(frames[-1][0].f_globals.get("__name__")) if frames else ""
    return error.filename is None and module.startswith(("hpo.cli.", "rich."))


def _about_output(error: OSError) -> str:
    return f"standard output must take the answer, but {error.strerror}; {_advice(error)}"


def _about_disk(error: OSError) -> str:
    # Of a copy the second one, which is written.
    where = error.filename2 or error.filename or "the disk"
    return f"{where} must be usable here, but {error.strerror}; {_advice(error)}"


def _advice(error: OSError) -> str:
    if error.errno in _PATHS:
        return "name another"
    cure = "make room" if error.errno in _ROOM else "mend that"
    return f"{cure}, then give the same command again"


def _kept(error: Exception) -> str:
    """Return where the traceback is, in words."""
    lines = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="hpo-", suffix="-traceback.txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(lines)
    except OSError:
        return "its traceback, which --debug shows"
    return f"its traceback in {path}, which --debug shows too"


def _discard_output() -> None:
    # Where there is no file behind it, as in tests, there is nothing to keep the interpreter from.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
