"""Download what others wrote of a sweep, and upload exports; decides who needs which files.

    readers (status, best …)      plans, records, ledgers, the teachers that plans name
    the driver                    the same, once it is the driver
    a worker                      plan and teachers, its trial's checkpoints
    export                        the student, earlier exports

Sweeps lie in an object store as on a disk (``hpo.records.layout``), except for their ledgers. On a
storage that is a folder nothing is moved (``hpo.storage.storage``). Runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from core.export.manifest import MANIFEST_FILE
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from hpo.records.layout import CONFIRMATION, EXPORTS, LEDGER, LOCK, PLAN, PLANS, RECORDS, RESULTS
from hpo.storage.storage import DRIVERS, Listing, Storage

IsDriven = Callable[[Path], bool]
"""Whether a process of this machine drives a part: then its files here are the newest there are."""


def download_sweep(storage: Storage, sweep: Path, is_driven: IsDriven) -> None:
    """Download plan, records, ledgers and teachers of one sweep and its confirmation."""
    storage.sync(sweep, lambda listing: _download_parts(storage, sweep, listing, is_driven))


def download_driven(storage: Storage, part: Path) -> None:
    """Download a sweep or a confirmation that this process drives from now on."""
    sweep = part.parent if part.name == CONFIRMATION else part
    storage.sync(sweep, lambda listing: _download_part(storage, part, listing))


def download_all_sweeps(storage: Storage, is_driven: IsDriven) -> None:
    """Download plans, records, ledgers and teachers of all sweeps."""

    def is_plan(path: Path) -> bool:
        # Another storage may lie in a folder of this one.
        return path.name == PLAN and path.parents[1] == storage.folder

    def download(listing: Listing) -> None:
        plans = [*filter(is_plan, listing.paths), *storage.folder.glob(PLANS)]
        for sweep in sorted({path.parent for path in plans}):
            _download_parts(storage, sweep, listing.below(sweep), is_driven)

    storage.sync(storage.folder, download)


def download_plan(storage: Storage, sweep: Path) -> None:
    """Download plan and teachers of a sweep, for a worker."""
    with storage.lock(sweep.name):
        storage.sync_files([sweep / PLAN], lambda found: _has_plan(storage, sweep, found))


def download_all_files(storage: Storage, sweep: Path) -> None:
    """Download what else others uploaded of a sweep that this process drives: students, exports."""

    def is_file_of_sweep(path: Path) -> bool:
        # Ledgers and leases are kept in a store in another form.
        return path.parent.name not in {Path(LEDGER).stem, DRIVERS}

    storage.sync(
        sweep, lambda listing: listing.only(filter(is_file_of_sweep, listing.paths)).download()
    )


def download_exports(storage: Storage, sweep: Path) -> None:
    """Download the complete exports of a sweep, wherever they were made."""

    def download(listing: Listing) -> None:
        complete = {path.parent for path in listing.paths if path.name == MANIFEST_FILE}
        listing.only(path for path in listing.paths if path.parent in complete).download()

    storage.sync(sweep / EXPORTS, download)


def publish_export(storage: Storage, folder: Path) -> None:
    """Upload an export; the manifest last, so that an export with one is complete."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
        storage.upload(path)


def _download_parts(storage: Storage, sweep: Path, listing: Listing, is_driven: IsDriven) -> None:
    with storage.lock(sweep.name):
        for part in (sweep, sweep / CONFIRMATION):
            if not is_driven(part):
                _download_part(storage, part, listing)


def _download_part(storage: Storage, part: Path, listing: Listing) -> None:
    if part.name == CONFIRMATION:
        there = part.parent / PLAN in listing
    else:
        there = _has_plan(storage, part, listing)
    if not there:
        return
    results = listing.below(part / RESULTS)
    results.download()
    for path in (part / RESULTS).glob(RECORDS):
        if path not in results:
            path.unlink(missing_ok=True)
    storage.download_ledger(part / LEDGER, listing)


def _has_plan(storage: Storage, sweep: Path, listing: Listing) -> bool:
    """Download plan and teachers of a sweep, and return whether there is such a sweep.

    Files here of a sweep that was deleted, or replaced by another one of its name, are deleted.
    """
    plan = sweep / PLAN
    if not listing.is_current(plan):
        _delete_files(sweep)
    if plan not in listing:
        return False
    listing.only([plan]).download()
    folders = [teacher_folder(storage.folder, one) for one in _fingerprints(plan)]
    teachers = [folder / TEACHER_FILE for folder in folders]
    storage.download(path for path in teachers if not path.exists())
    return True


def _fingerprints(plan: Path) -> list[str]:
    try:
        fields = json.loads(plan.read_text())
        named = (fields["teacher_fingerprint"], fields["base_fingerprint"])
    except (ValueError, KeyError, TypeError):  # the plan's reader reports what is wrong with it
        return []
    return [str(one) for one in named if one is not None]


def _delete_files(sweep: Path) -> None:
    for path in sweep.rglob("*"):
        if path.is_file() and path.name != LOCK:
            path.unlink(missing_ok=True)
