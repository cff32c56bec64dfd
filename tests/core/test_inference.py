"""Predictions: in order, of a verified adapter on its own base, and the same in every process."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.core.model_scenario import LABELS, config, save_tiny_model, splits, train

from ftzard.core.inference import predict
from ftzard.core.predictions import prediction_schema
from ftzard.core.records import AdapterDirectory
from ftzard.core.training import TrainingResult
from ftzard.errors import AdapterCorruptError, AdapterMismatchError

if TYPE_CHECKING:
    from ftzard.core.progress import Progress

_IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from ftzard.core.inference import predict
from tests.core.model_scenario import config, splits, train

adapter = train(Path(sys.argv[1]) / "adapter").adapter
predict(adapter, splits().test, config()).write_parquet(Path(sys.argv[1]) / "predictions.parquet")
print(adapter.checksum)
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(tmp_path_factory.mktemp("trained") / "adapter")


def test_predictions_are_in_the_order_of_the_examples_and_mostly_right(result: TrainingResult) -> None:
    test = splits().test
    predictions = predict(result.adapter, test, config())
    assert predictions.schema == prediction_schema(LABELS)
    assert predictions["text_hash"].to_list() == test["text_hash"].to_list()
    assert predictions["label"].to_list() == test["label"].to_list()
    assert (predictions["predicted_label"] == predictions["label"]).sum() > 0.9 * test.height
    backwards = predict(result.adapter, test.reverse(), config())
    assert_frame_equal(backwards.reverse(), predictions, abs_tol=1e-4)


def test_predictions_do_not_depend_on_the_token_budget(result: TrainingResult) -> None:
    small, large = (
        predict(result.adapter, splits().test, config(max_tokens_per_batch=budget)) for budget in (1, 100_000)
    )
    assert_frame_equal(small, large, abs_tol=1e-4)


def test_a_process_that_has_used_its_base_model_predicts_bit_for_bit_as_a_fresh_one(
    result: TrainingResult, tmp_path: Path
) -> None:
    train(tmp_path / "another", num_train_epochs=1, seed=7, lora={"use_dora": True})
    here = predict(result.adapter, splits().test, config())
    import torch

    environment = {**os.environ, "PYTHONHASHSEED": "4", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", _IN_A_FRESH_PROCESS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == result.adapter.checksum
    assert_frame_equal(pl.read_parquet(tmp_path / "predictions.parquet"), here, check_exact=True)


def test_the_prompt_is_the_adapters_own(result: TrainingResult) -> None:
    other_prompt = config({"prompt_template": "Something else: {text} ->", "max_length": 24})
    assert_frame_equal(
        predict(result.adapter, splits().test, other_prompt), predict(result.adapter, splits().test, config())
    )


def test_no_examples_give_no_predictions(result: TrainingResult) -> None:
    predictions = predict(result.adapter, splits().test.clear(), config())
    assert predictions.is_empty()
    assert predictions.schema == prediction_schema(LABELS)


def test_progress_counts_the_examples(result: TrainingResult) -> None:
    seen: list[Progress] = []
    predict(result.adapter, splits().test, config(max_tokens_per_batch=100), on_progress=seen.append)
    assert seen[-1].done == seen[-1].total == splits().test.height
    assert len(seen) > 1


def test_an_adapter_that_was_changed_is_not_used(result: TrainingResult, tmp_path: Path) -> None:
    copy = shutil.copytree(result.adapter.path, tmp_path / "copy")
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    with pytest.raises(AdapterCorruptError, match="adapter_model"):
        predict(AdapterDirectory(copy, result.adapter.checksum), splits().test, config())


def test_an_adapter_that_is_whole_but_not_the_one_meant_is_not_used(result: TrainingResult) -> None:
    with pytest.raises(AdapterCorruptError, match="was expected"):
        predict(AdapterDirectory(result.adapter.path, "0" * 64), splits().test, config())


def test_an_adapter_is_not_put_on_another_base_model(result: TrainingResult, tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "base"))
    with pytest.raises(AdapterMismatchError, match=r"random:tiny-llama.*base"):
        predict(result.adapter, splits().test, config({"base_model": folder}))


def test_an_adapter_for_other_labels_is_refused(result: TrainingResult) -> None:
    base = config()
    other = dataclasses.replace(base, data=dataclasses.replace(base.data, labels=("negative", "neutral", "positive")))
    with pytest.raises(AdapterMismatchError, match="neutral"):
        predict(result.adapter, splits().test, other)


def test_a_bfloat16_adapter_predicts_as_it_was_validated(tmp_path: Path) -> None:
    model = {"dtype": "bfloat16"}
    trained = train(tmp_path / "adapter", model=model)
    predictions = predict(trained.adapter, splits().validation, config(model))
    from sklearn.metrics import f1_score

    score = f1_score(predictions["label"], predictions["predicted_label"], average="macro")
    assert score == pytest.approx(trained.validation["macro_f1"][-1])
