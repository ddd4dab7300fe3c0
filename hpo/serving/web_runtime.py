"""Provide ONNX Runtime for browsers: the files of one pinned version of its npm package.

The package is fetched by ``npm pack`` once, into the user's cache, or given as a file on machines
without a network; whichever it is, it must be that version, byte for byte. Writes no page.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import ConfigError, ExportError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY: Final = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""SHA-512 of the package as npm publishes it."""
FILE: Final = f"{PACKAGE}-{VERSION}.tgz"
_SCRIPT, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*(//[^\n]*\s*)*$")
SECONDS = 300


@dataclass(frozen=True)
class WebRuntime:
    """What runs an ONNX graph in a page."""

    script: str
    """A module that hands its exports to ``globalThis.runtimeReady``."""
    wasm: bytes


def find_runtime(file: Path | None = None) -> WebRuntime:
    """Open the runtime, fetching its package first where it is not in the cache.

    Args:
        file: the package, ``onnxruntime-web-….tgz``; None: from the cache or by npm.

    Raises:
        ConfigError: ``file`` is no such package.
        ExportError: npm is missing, or it cannot fetch the package.
    """
    package = _checked(file) if file is not None else _cached()
    with tarfile.open(package) as archive:
        script, wasm = (_member(archive, name) for name in (_SCRIPT, _WASM))
    return WebRuntime(_handing_over(script.decode()), wasm)


def _cached() -> Path:
    kept = _cache() / FILE
    if not kept.is_file() or _digest(kept) != INTEGRITY:
        _fetch(kept)
    return kept


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    otherwise = (
        f"; fetch it where there is a network by `npm pack {PACKAGE}@{VERSION}` and give the file "
        "by --web-runtime"
    )
    if npm is None:
        raise ExportError(f"--web needs npm to fetch {PACKAGE}, but there is none{otherwise}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as aside:
        asked = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", aside, "--silent"]
        try:
            subprocess.run(asked, check=True, capture_output=True, timeout=SECONDS)
            fetched = _checked(Path(aside) / FILE)
        except (subprocess.SubprocessError, OSError, ConfigError) as error:
            raise ExportError(
                f"--web needs {PACKAGE} {VERSION}, but npm did not fetch it{otherwise}"
            ) from error
        fetched.replace(kept)


def _checked(package: Path) -> Path:
    try:
        same = _digest(package) == INTEGRITY
    except OSError as error:
        raise ConfigError(
            f"--web-runtime must be a file, but {package}: {error.strerror}; make it by "
            f"`npm pack {PACKAGE}@{VERSION}`"
        ) from error
    if not same:
        raise ConfigError(
            f"--web-runtime must be {FILE} as it was published, but {package} is another file; "
            f"make it by `npm pack {PACKAGE}@{VERSION}`"
        )
    return package


def _digest(file: Path) -> str:
    return base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(f"package/dist/{name}")
    assert stream is not None  # the package is known, byte for byte
    return stream.read()


def _handing_over(module: str) -> str:
    """Replace the exports of a module, which a page's own scripts cannot import."""
    found = _EXPORTS.search(module)
    assert found is not None  # as above
    pairs = [pair.split(" as ") for pair in found[1].split(",")]
    named = ",".join(f"{outside.strip()}:{inside.strip()}" for inside, outside in pairs)
    return f"{module[: found.start()]}globalThis.runtimeReady({{{named}}});"


def _cache() -> Path:
    chosen = os.environ.get("HPO_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"
