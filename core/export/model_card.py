"""Write what an export folder says of itself to people: a model card, and how to serve it.

Everything in the card is in the manifest. Measures nothing and writes no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from core.export.manifest import Manifest, errors_look_ahead

CARD_FILE, DOCKER_FILE = "README.md", "Dockerfile"
_DOCKER_SOURCE, _USE_SOURCE = "serve.dockerfile", "use.md"


def model_card(manifest: Manifest, name: str) -> str:
    """Return the text of ``README.md`` of the export called ``name``."""
    parts = [
        _what(manifest),
        _errors(manifest),
        _data(manifest),
        _origin(manifest),
        _use(manifest, name),
        _limits(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def docker_file() -> str:
    """Return a ``Dockerfile`` that serves the folder it stands in."""
    return _own(_DOCKER_SOURCE)


def _what(manifest: Manifest) -> str:
    data, lineage = manifest["dataset"], manifest["lineage"]
    sensors, every = len(data["sensor_ids"]), data["interval_minutes"]
    network = manifest["network"].get("family", "stgcn").upper()
    reads, ahead = manifest["history_steps"] * every, manifest["horizon_steps"] * every
    return (
        f"# Forecasts of {data['name']}: trial {lineage['trial']} of {lineage['sweep']}\n\n"
        f"Forecasts readings in {data['unit']} at {sensors} sensors for the next {ahead} minutes, "
        f"every {every} minutes a row, from the last {reads} minutes. A student {network} of "
        f"{manifest['parameters']:,} parameters, method `{manifest['settings']['method']}`."
    )


def _errors(manifest: Manifest) -> str:
    test, seeds = manifest["metrics"]["test"], manifest["metrics"].get("over_seeds")
    who = [one for one in ("student", "teacher", "repeat_last") if one in test]
    titles = {"student": "student", "teacher": "teacher", "repeat_last": "repeating the last"}
    heads = ["minutes ahead", *(titles[one] for one in who), "student, validation"]
    rows = [
        [
            str(minutes),
            *(_number(test[one].get(f"mae_{minutes}")) for one in who),
            _validation(manifest, seeds, minutes),
        ]
        for minutes in manifest["horizon_minutes"]
    ]
    spread = " The validation errors are mean and standard deviation over fresh seeds." * bool(
        seeds
    )
    promised = manifest.get("intervals")
    ahead = " **They look ahead**: gaps were interpolated." * errors_look_ahead(manifest)
    return (
        f"## Errors\n\nMean absolute errors in {manifest['dataset']['unit']}, of test days unless "
        f"said otherwise; these were looked at once, when the student was exported.{spread}{ahead}"
        f"\n\n{_table(heads, rows)}{'' if promised is None else _coverage(promised)}"
    )


def _coverage(promised: Mapping[str, Any]) -> str:
    """Say what prediction intervals promise, and what they covered on the test days."""
    parts = [
        f"{share:.0%} at {minutes} minutes"
        for minutes, share in promised["test"]["share"].items()
        if share is not None
    ]
    return (
        f"\n\nIntervals (`lower`, `upper`) should hold {promised['coverage']:.0%} of all readings; "
        f"on the test days they held {', '.join(parts)}."
    )


def _validation(
    manifest: Manifest, seeds: Mapping[str, Mapping[str, Any]] | None, minutes: int
) -> str:
    name = f"val_mae_{minutes}"
    over = (seeds or {}).get(name)
    if over is None:
        return _number(manifest["metrics"]["validation"].get(name))
    spread = "" if over["spread"] is None else f" ± {over['spread']:.2f}"
    return f"{over['mean']:.2f}{spread} ({over['runs']} runs)"


def _data(manifest: Manifest) -> str:
    data = manifest["dataset"]
    days = data["num_steps"] * data["interval_minutes"] // 1440
    lines = [
        f"{days} days, {data['day_kind']}; {'/'.join(map(str, data['split']))} for training, "
        "validation and test",
        f"{data['minimum']:g} to {data['maximum']:g} {data['unit']}, mean {data['mean']:.1f}; "
        f"{data['missing_share']:.2%} missing"
        if "missing_share" in data
        else "range not recorded",
        f"graph: {data.get('graph', 'not recorded')}, {data.get('edges', '?')} edges",
        f"fingerprint `{data['fingerprint']}`",
    ]
    lines += [f"`{file}`, SHA-256 `{digest}`" for file, digest in data["sources"].items()]
    return f"## Data\n\n{_list(lines)}"


def _origin(manifest: Manifest) -> str:
    lineage = manifest["lineage"]
    lines = [f"sweep {lineage['sweep']}, trial {lineage['trial']}, seed {lineage['seed']}"]
    for what in ("teacher", "base"):
        if lineage.get(f"{what}_fingerprint"):
            lines.append(f"{what} `{lineage[f'{what}_fingerprint']}`")
    versions = ", ".join(f"{name} {one}" for name, one in lineage["versions"].items())
    lines += [f"`{lineage['command']}`", f"trained with {versions}"]
    settings = {
        name: one for name, one in manifest["settings"].items() if name not in {"method", "seed"}
    }
    lines.append("settings: " + ", ".join(f"{name} {one}" for name, one in settings.items()))
    return f"## Origin\n\n{_list(lines)}"


def _use(manifest: Manifest, name: str) -> str:
    data = manifest["dataset"]
    return (
        Template(_own(_USE_SOURCE))
        .substitute(
            name=name,
            history=manifest["history_steps"],
            sensor=data["sensor_ids"][0],
            reading=f"{data.get('mean', 60):.1f}",
        )
        .rstrip()
    )


def _limits(manifest: Manifest) -> str:
    data, gap = manifest["dataset"], manifest["max_gap_minutes"]
    lines = [
        "for these sensors alone, in this order and unit",
        f"gaps of up to {gap} minutes are filled with a sensor's last reading; after longer ones "
        "it has no forecast",
    ]
    if data["day_kind"] == "weekdays":
        lines.append("trained within weekdays: no window crossed a midnight")
    lines.append("test days come after the training days of the same period; traffic changes")
    return f"## Limits\n\n{_list(lines)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _own(name: str) -> str:
    return files("core.export").joinpath(name).read_text(encoding="utf-8")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
