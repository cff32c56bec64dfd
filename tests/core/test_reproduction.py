"""What differs between two adapters is named: the files, the tensors and by how much."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ftzard.core.adapter import WEIGHTS_NAME, read_manifest
from ftzard.core.reproduction import ReproductionReport, adapter_differences


def test_an_adapter_and_its_copy_differ_in_nothing(materialized_project: Path) -> None:
    adapter = materialized_project / "data" / "assets" / "lora_adapter"
    manifest = read_manifest(adapter)
    assert adapter_differences(adapter, manifest, adapter, manifest) == ()


def test_a_tensor_that_differs_is_named_with_the_greatest_difference(
    materialized_project: Path, tmp_path: Path
) -> None:
    adapter = materialized_project / "data" / "assets" / "lora_adapter"
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / WEIGHTS_NAME)
    name = next(name for name, tensor in weights.items() if tensor.dtype == torch.float32)
    weights[name].view(-1)[0] += 0.5
    save_file(weights, other / WEIGHTS_NAME)
    manifest, changed = read_manifest(adapter), read_manifest(adapter)
    changed = type(changed)(**{**vars(changed), "files": {**changed.files, WEIGHTS_NAME: "0" * 64}})
    differences = adapter_differences(adapter, manifest, other, changed)
    assert differences == (f"file {WEIGHTS_NAME}", f"tensor {name}: by up to 0.5")


def test_a_report_tells_both_adapters_and_everything_that_differs() -> None:
    report = ReproductionReport("aa", "bb", ("file x",), ("torch was 1, is 2",))
    assert not report.is_reproduced
    assert report.lines() == ["adapter aa: NOT reproduced: bb", "  version: torch was 1, is 2", "  differs: file x"]
    assert report.to_dict()["other_versions"] == ["torch was 1, is 2"]
