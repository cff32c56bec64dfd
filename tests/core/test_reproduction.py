"""What differs between two adapters is named: the files, the tensors and by how much."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.core.model_scenario import config, splits, train

from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.inference import predict
from ftzard.core.records import AdapterDirectory
from ftzard.core.reproduction import ReproductionReport, adapter_differences, judge


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


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> AdapterDirectory:
    return train(tmp_path_factory.mktemp("original") / "adapter").adapter


def _judged(original: AdapterDirectory, again: AdapterDirectory, device: str) -> ReproductionReport:
    def recorded() -> pl.DataFrame:
        return predict(original, splits().test, config())

    return judge(original, again, device, recorded, splits().test, config())


def test_what_was_trained_on_cuda_is_reproduced_where_its_answers_show_no_difference(
    original: AdapterDirectory, tmp_path: Path
) -> None:
    again = train(tmp_path / "again", seed=1).adapter
    report = _judged(original, again, "cuda")
    assert report.scores is not None
    assert report.scores.difference.low <= 0 <= report.scores.difference.high
    assert report.scores.num_rows == splits().test.height
    assert (report.agreement, report.is_reproduced) == ("within the interval", True)
    assert f"adapter {original.checksum}: reproduced, within the interval: {again.checksum}" in report.lines()
    assert report.lines()[1].startswith("  scores: macro-F1 ")
    # On a CPU the same pair is none.
    on_cpu = _judged(original, again, "cpu")
    assert (on_cpu.agreement, on_cpu.is_reproduced, on_cpu.scores) == ("none", False, None)


def test_what_answers_worse_is_not_reproduced_on_cuda_either(original: AdapterDirectory, tmp_path: Path) -> None:
    untrained = train(tmp_path / "untrained", learning_rate=1e-12, num_train_epochs=1).adapter
    report = _judged(original, untrained, "cuda")
    assert report.scores is not None
    assert report.scores.difference.high < 0
    assert (report.agreement, report.is_reproduced) == ("none", False)
    assert "NOT reproduced" in report.lines()[0]


def test_another_file_than_the_weights_is_no_matter_of_answers(original: AdapterDirectory, tmp_path: Path) -> None:
    other = train(tmp_path / "other", lora={"r": 2}, num_train_epochs=1).adapter
    report = _judged(original, other, "cuda")
    assert "file adapter_config.json" in report.differences
    assert (report.agreement, report.scores) == ("none", None)


def test_the_same_bytes_are_reproduced_bit_for_bit_on_any_device(original: AdapterDirectory) -> None:
    assert {_judged(original, original, device).agreement for device in ("cpu", "cuda")} == {"bit for bit"}
