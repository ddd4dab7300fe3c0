from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import load_file

from core.checkpoint import save_model
from core.errors import ExportError
from core.export.manifest import FORECASTERS, SCHEMA_FILE, read_manifest
from core.export.verify import verify_export
from core.files import sha256_of_file
from core.forecasters.parity import validation_stretches
from core.forecasters.torch_program import load_program
from core.graph import chebyshev_stack
from core.stgcn import STGCN, STGCNConfig
from tests.small_exports import Exported
from tests.small_students import WINDOWS_PER_DAY, make_student


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "export"))


def sealed(folder: Path, change: Callable[[dict], object] = lambda manifest: None) -> None:
    """Change the manifest and give it the checksums of the files as they are now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["files"] = {name: sha256_of_file(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.timeout(300)
def test_a_whole_export_is_compared_over_its_validation_days(exported: Exported) -> None:
    found = verify_export(exported.folder, validation_stretches(exported.data))
    assert found.windows == "validation"
    assert {name: one.windows for name, one in found.parity.items()} == dict.fromkeys(
        FORECASTERS, WINDOWS_PER_DAY
    )


def test_without_them_over_made_up_readings(exported: Exported) -> None:
    found = verify_export(exported.folder)
    assert found.windows == "synthetic"
    assert {one.windows for one in found.parity.values()} == {64}


def test_the_schema_is_one() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    # Exports from before there were two rules for gaps, or intervals, do not tell theirs.
    assert set(schema["required"]) == set(schema["properties"]) - {"gaps", "intervals"}


def another_onnx(folder: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    proto = onnx.load(folder / "model.onnx")
    change(proto)
    onnx.save(proto, folder / "model.onnx")
    sealed(folder)


def rename_output(proto: onnx.ModelProto) -> None:
    (first, *_), names = proto.graph.output, {"forecast": "prediction"}
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    first.name = "prediction"


def change_scale(proto: onnx.ModelProto) -> None:
    (std,) = [one for one in proto.graph.initializer if one.name == "forecast.std"]
    std.float_data[0] *= 1.01


def other_weights(folder: Path) -> None:
    adjacency = load_file(folder / "graph.safetensors")["adjacency"].numpy()
    config = STGCNConfig.from_json(read_manifest(folder)["network"])
    torch.manual_seed(5)
    model = STGCN(config, chebyshev_stack(adjacency, config.chebyshev_order))
    save_model(folder / "model.safetensors", model, {})
    sealed(folder)


DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a sensor too few": (
        lambda folder: sealed(folder, lambda one: one["dataset"]["sensor_ids"].pop()),
        r"has 4 sensor_ids and model.safetensors is for 5",
    ),
    "another config": (
        lambda folder: ((folder / "config.json").write_text("{}"), sealed(folder)),
        r"one shape and one scaler in model.safetensors, config.json and manifest.json",
    ),
    "another number of weights": (
        lambda folder: sealed(folder, lambda one: one.update(parameters=7)),
        r"must hold the 7 weights that its manifest says, got \d+",
    ),
    "another opset": (
        lambda folder: sealed(folder, lambda one: one["onnx"].update(opset=17)),
        r"model.onnx must have the opset 17 that its manifest says, got 20",
    ),
    "another output": (
        lambda folder: another_onnx(folder, rename_output),
        r"model.onnx must have the output .*'forecast'.* got .*'prediction'",
    ),
    "no ONNX": (
        lambda folder: ((folder / "live.onnx").write_bytes(b"?"), sealed(folder)),
        r"live.onnx must be an ONNX file",
    ),
    "no program": (
        lambda folder: ((folder / "model.pt2").write_bytes(b"?"), sealed(folder)),
        r"model.pt2 must be a torch.export program without pickles: File is not a zip file",
    ),
    "other forecasts": (
        lambda folder: another_onnx(folder, change_scale),
        r"model.onnx must be within 0.\d+ mph of PyTorch, but is",
    ),
    "a damaged file": (
        lambda folder: (folder / "model.pt2").write_bytes(b"?"),
        r"model.pt2 must be the file that was exported, but its checksum differs",
    ),
    "other weights": (
        other_weights,
        r"model.onnx must be within .* of PyTorch, but is",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_the_first_defect_is_named(copied: Path, name: str) -> None:
    damage, message = DEFECTS[name]
    damage(copied)
    with pytest.raises(ExportError, match=message) as found:
        verify_export(copied)
    assert "\n" not in str(found.value)


def test_an_export_of_the_first_version_is_refused_in_a_line(copied: Path) -> None:
    sealed(copied, lambda manifest: manifest.update(version=1))
    with pytest.raises(ExportError, match=r"must be of version 2, got version 1; export the stud"):
        verify_export(copied)


def test_the_program_is_read_without_pickle(exported: Exported) -> None:
    content = (exported.folder / "model.pt2").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    # Pickles begin with a protocol; torch's own files with them are ZIPs.
    raw = [held for path, held in entries.items() if "/data/weights/weight_" not in path]
    assert not [held for held in raw if held[:2] in {b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"}]
    assert b'pickle": true' not in b"".join(raw)
    program = load_program(content)
    readings = exported.data.scaler.unscale(exported.data.readings[:12])[None]
    assert program(readings).shape == (1, 3, 5)


def rewritten(content: bytes, name: str, held: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            changed = entry.filename.endswith(name)
            new.writestr(entry.filename, held if changed else old.read(entry))
    return stream.getvalue()


def test_a_program_with_a_pickle_is_refused_before_it_is_read(exported: Exported) -> None:
    content = (exported.folder / "model.pt2").read_bytes()
    with pytest.raises(ExportError, match=r"sample_inputs/model.pt is a pickle; export"):
        load_program(rewritten(content, "sample_inputs/model.pt", b"PK"))
    config = json.dumps({"config": {"a": {"use_pickle": True}}}).encode()
    with pytest.raises(ExportError, match=r"without pickles: a is a pickle; export"):
        load_program(rewritten(content, "model_weights_config.json", config))


def test_what_is_taken_away_can_be_trained_on(exported: Exported) -> None:
    """As docs/export.md shows it."""
    folder = exported.folder
    config = json.loads((folder / "config.json").read_text())
    shape = STGCNConfig.from_json(config["network"])
    adjacency = load_file(folder / "graph.safetensors")["adjacency"].numpy()
    model = STGCN(shape, chebyshev_stack(adjacency, shape.chebyshev_order))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    for name, value in exported.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    scaled = exported.data.readings[:200]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        prediction, _ = model(scaled[None, None, :-1])
        loss = torch.nn.functional.mse_loss(prediction[0], scaled[12:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert config["scaler"] == read_manifest(folder)["scaler"]
    assert make_student(exported.data).config == shape
