"""What of a sweep is brought from an object store, and when; what a worker puts there.

    who looks (status, best …)    plans, records, ledgers, the teachers that plans name
    who drives                    the same, once it is the driver
    a worker                      plan and teachers, its trial's checkpoints
    who exports                   the student, exports made before

Sweeps lie in the store as on a disk (``hpo.records.sweep_folder``), but for the ledger
(``hpo.storage.ledger_parts``) and ``drivers/`` (``hpo.storage.driver_lease``). Runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from core.training.teachers import TEACHER_FILE
from hpo.records.layout import CONFIRMATION, EXPORTS, LEDGER, LOCK, PLAN, RESULTS, TEACHERS
from hpo.storage.ledger_parts import bring_ledger
from hpo.storage.mirror import Mirror
from hpo.storage.object_store import StoredObject

Listed = dict[str, StoredObject]
IsDriven = Callable[[Path], bool]
"""Whether a process of this machine drives a part: then its files here are the newest there are."""
LISTINGS = 5
"""Tries to bring what is listed before somebody deletes it, as drivers do with parts of ledgers."""


def bring_sweep(mirror: Mirror, sweep: Path, is_driven: IsDriven) -> None:
    """Bring what is known of one sweep and its confirmation."""
    _as_listed(lambda: _bring_parts(mirror, sweep, mirror.store.list(mirror.key(sweep)), is_driven))


def bring_driven(mirror: Mirror, part: Path) -> None:
    """Bring what is known of the sweep or confirmation that this process drives from now on."""
    sweep = part.parent if part.name == CONFIRMATION else part
    _as_listed(lambda: _bring(mirror, part, mirror.store.list(mirror.key(sweep))))


def bring_all_sweeps(mirror: Mirror, is_driven: IsDriven) -> None:
    """Bring what is known of all sweeps."""

    def bring() -> None:
        listed = mirror.store.list("")
        names = {key.split("/")[0] for key in listed if key.endswith(f"/{PLAN}")}
        names |= {path.parent.name for path in mirror.folder.glob(f"[!.]*/{PLAN}")}
        for name in sorted(names):
            own = {key: found for key, found in listed.items() if key.startswith(f"{name}/")}
            _bring_parts(mirror, mirror.folder / name, own, is_driven)

    _as_listed(bring)


def bring_plan(mirror: Mirror, sweep: Path) -> None:
    """Bring plan and teachers of a sweep, for a worker."""
    with mirror.lock(sweep.name):
        key = mirror.key(sweep / PLAN)
        found = mirror.store.look(key)
        _bring_plan(mirror, sweep, {} if found is None else {key: found})


def bring_exports(mirror: Mirror, sweep: Path) -> None:
    """Bring the whole exports that were made before, perhaps elsewhere."""
    listed = mirror.store.list(mirror.key(sweep / EXPORTS))
    whole = {key.rpartition("/")[0] for key in listed if key.endswith("/manifest.json")}
    mirror.bring_listed(
        {key: found for key, found in listed.items() if key.rpartition("/")[0] in whole}
    )


def publish_export(mirror: Mirror, folder: Path) -> None:
    """Put an export; the manifest last, so that it is whole where that is."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "manifest.json"):
        mirror.publish(path)


def _bring_parts(mirror: Mirror, sweep: Path, listed: Listed, is_driven: IsDriven) -> None:
    with mirror.lock(sweep.name):
        for part in (sweep, sweep / CONFIRMATION):
            if not is_driven(part):
                _bring(mirror, part, listed)


def _bring(mirror: Mirror, part: Path, listed: Listed) -> None:
    if part.name != CONFIRMATION and not _bring_plan(mirror, part, listed):
        return
    results = _below(mirror, part / RESULTS, listed)
    mirror.bring_listed(results)
    for path in (part / RESULTS).glob("*.parquet"):
        if mirror.key(path) not in results:
            path.unlink(missing_ok=True)
    bring_ledger(mirror, part / LEDGER, _below(mirror, (part / LEDGER).with_suffix(""), listed))


def _bring_plan(mirror: Mirror, sweep: Path, listed: Listed) -> bool:
    """Say whether there is such a sweep; another one that had its name is forgotten here."""
    key = mirror.key(sweep / PLAN)
    found = listed.get(key)
    if found is None or not mirror.has(key, found):
        _forget(sweep)
    if found is None:
        return False
    mirror.bring_listed({key: found})
    wanted = [f"{TEACHERS}/{one}/{TEACHER_FILE}" for one in _fingerprints(sweep / PLAN)]
    mirror.bring(key for key in wanted if not (mirror.folder / key).exists())
    return True


def _fingerprints(plan: Path) -> list[str]:
    try:
        fields = json.loads(plan.read_text())
        named = (fields["teacher_fingerprint"], fields["base_fingerprint"])
    except (ValueError, KeyError, TypeError):  # who reads the plan says what is wrong with it
        return []
    return [str(one) for one in named if one is not None]


def _forget(sweep: Path) -> None:
    for path in sweep.rglob("*"):
        if path.is_file() and path.name != LOCK:
            path.unlink(missing_ok=True)


def _below(mirror: Mirror, folder: Path, listed: Listed) -> Listed:
    start = f"{mirror.key(folder)}/"
    return {key: found for key, found in listed.items() if key.startswith(start)}


def _as_listed(bring: Callable[[], None]) -> None:
    """Bring again with a new listing where an object was deleted since."""
    for _ in range(LISTINGS - 1):
        try:
            bring()
        except FileNotFoundError:
            continue
        return
    bring()
