"""What a training of TRL's will take is counted before it begins: from shapes, passes and pairs."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.core.answer_scenario import config, few, splits, tiny_base

from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.core import estimate
from ftzard.core.answer_work import answer_work_of, unknown_answer_work
from ftzard.core.base_model import describe_base_model
from ftzard.core.estimate import learned_efficiency
from ftzard.core.estimate_report import estimate_lines
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.core.language_model import lora_language_model
from ftzard.core.outline import Outline, outline_answers
from ftzard.core.records import Splits
from ftzard.core.training_work import Work
from ftzard.errors import DoesNotFitError, TooFewExamplesError

_TASKS = pytest.mark.parametrize("task", ["generation", "preference"])


def _outline(shape: tuple[int, int] = (3, 20), **settings: Any) -> Outline:
    made = config(**settings)
    source, model_config, tokenizer = describe_base_model(made.model)
    return outline_answers(source, model_config, tokenizer, made, ("cpu", torch.float32), shape=shape)


def _work(parts: Splits, task: str = "generation", **training: Any) -> Work:
    made = config(task, **training)
    return answer_work_of(parts, made, describe_base_model(made.model)[2])


@pytest.mark.parametrize("lora", [{}, {"r": 3}, {"target_modules": ["q_proj", "v_proj"]}, {"use_dora": True}])
def test_what_is_counted_is_what_is_trained(lora: dict[str, Any]) -> None:
    counted, base = _outline(lora=lora), tiny_base()
    with lora_language_model(base, config(lora=lora).training.lora) as model:
        assert counted.num_trainable == sum(part.numel() for part in model.trainable_parameters())
        assert counted.num_parameters == model.num_parameters()
    assert counted.weight_bytes == sum(part.nbytes for part in base.model.parameters())
    assert counted.output_shape == tuple(base.model.get_output_embeddings().weight.shape)


def test_the_activations_counted_are_those_that_a_pass_of_trl_keeps_its_output_layer_included() -> None:
    from trl.trainer.utils import add_fused_lm_head

    counted, base, storages = _outline().activation_bytes, tiny_base(), dict[int, Any]()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # Held, so that its address is not given to another one.
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    add_fused_lm_head(base.model)
    with lora_language_model(base, config().training.lora) as model:
        weights = {part.data_ptr() for part in model.peft_model.parameters()}
        model.peft_model.train()
        ids = torch.arange(60).reshape(3, 20)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.peft_model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    real = sum(storage.nbytes() for address, storage in storages.items() if address not in weights)
    assert counted == pytest.approx(real, rel=0.05)


@_TASKS
def test_the_work_is_counted_in_passes_and_with_their_padding(task: str) -> None:
    parts = splits(task)
    answer, sides = parts.train["label"][0], 2 if task == "preference" else 1
    alike = parts.train.with_columns(text=pl.lit("0000 bad"), label=pl.lit(answer))
    parts = Splits(alike, parts.validation.clear(), parts.test)
    # A budget of 2,048 tokens takes the whole optimizer step.
    found = _work(parts, task, train_batch_size=8)
    assert (found.num_train_batches, found.num_validation_tokens) == (2 * 32 / 8, 0)
    assert found.num_train_tokens == 2 * 32 * sides * found.longest
    assert [len(ids) for ids in found.largest] == [found.longest] * 8 * sides
    # An answer ends with a token of its own, and the longest of a pair makes the row.
    assert found.num_scored == 8 * (len("noyes") + 2 if task == "preference" else len(answer) + 1)
    halved = _work(parts, task, train_batch_size=8, max_tokens_per_batch=4 * sides * found.longest)
    assert (len(halved.largest), halved.num_train_batches) == (4 * sides, 2 * 32 / 4)
    is_first = pl.int_range(pl.len()) == 0
    one_longer = alike.with_columns(text=pl.when(is_first).then(pl.lit("x " * 20)).otherwise("text"))
    padded = _work(
        Splits(one_longer, parts.validation, parts.test), task, train_batch_size=32, max_tokens_per_batch=8192
    )
    assert padded.longest > found.longest
    assert padded.num_train_tokens == 2 * 32 * sides * padded.longest


def test_packed_rows_are_all_but_full() -> None:
    found = _work(splits(), packing=True, train_batch_size=2)
    assert found.longest == config().model.max_length
    assert found.num_train_batches < _work(splits(), train_batch_size=2).num_train_batches / 2


def test_without_texts_every_row_is_as_long_as_can_be() -> None:
    made = config(train_batch_size=4)
    found = unknown_answer_work(made)
    assert (len(found.largest), found.longest, found.num_train_tokens) == (4, made.model.max_length, None)
    unknown = estimate.estimate(made, None, ())
    assert unknown.seconds is None
    assert unknown.peak_bytes > estimate.estimate(made, splits(), ()).peak_bytes


def test_a_pair_takes_more_than_an_answer_because_the_model_before_is_asked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "gemm_flops", lambda *_: 1e9)
    found = {task: estimate.estimate(config(task), splits(task), ()) for task in ("generation", "preference")}
    counted = found["generation"].outline
    scored = 2 * (counted.num_computed + counted.num_output)
    for task, num_before, num_scorings in (("generation", 0, 2), ("preference", 2, 3)):
        work = _work(splits(task), task)
        assert work.num_train_tokens
        assert work.num_validation_tokens
        assert work.num_validation_tokens % num_scorings == 0
        assert 0 < work.scored_fraction < 1
        output = counted.num_output * work.scored_fraction
        flop = (4 + num_before) * counted.num_computed + (6 + num_before) * output
        assert found[task].flop == pytest.approx(flop * work.num_train_tokens + scored * work.num_validation_tokens)
    assert found["preference"].parts["activations"] > found["generation"].parts["activations"]
    assert any("output layer" in line for line in estimate_lines(found["generation"], config()))


@_TASKS
def test_a_training_that_cannot_fit_is_refused_before_it_loads_anything(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftzard.core.estimate.free_bytes", lambda _: 1000)
    monkeypatch.setattr("ftzard.core.answer_training.borrowed_base_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(DoesNotFitError, match=r"bytes .* on the device 'cpu', and 1,000 .* are free"):
        lora_adapter(few(task), TunedHyperparameters({}, "loss"), Step(config(task), tmp_path))


def test_a_training_records_what_was_estimated_and_how_wrong_that_was(tmp_path: Path) -> None:
    done = lora_adapter(few(), TunedHyperparameters({}, "loss"), Step(config(), tmp_path))
    assert {"estimated_memory_bytes", "estimate_time_error", "efficiency"} <= done.metrics.keys()
    again = estimate.estimate(config(), few(), (), done.metrics["efficiency"])
    assert again.efficiency == done.metrics["efficiency"]


def test_only_a_training_of_the_same_task_says_how_fast_the_next_one_is() -> None:
    params = {"model.base_model": "random:tiny-llama", "model.quantization": "none", "device": "cpu"}
    params |= {"dtype": "float32", "task": "generation"}
    assert learned_efficiency({"efficiency": 0.2}, params, config()) == 0.2
    assert learned_efficiency({"efficiency": 0.2}, params, config("preference")) is None
    del params["task"]
    assert learned_efficiency({"efficiency": 0.2}, params, config()) is None


def test_what_is_left_out_of_a_training_is_told_by_the_training_alone(caplog: pytest.LogCaptureFixture) -> None:
    parts, is_first = splits(), pl.int_range(pl.len()) == 0
    train = parts.train.with_columns(text=pl.when(is_first).then(pl.lit("word " * 100)).otherwise("text"))
    assert _work(Splits(train, parts.validation, parts.test)).longest < config().model.max_length
    assert "left out" not in caplog.text


def test_where_no_prompt_leaves_room_for_an_answer_it_is_said_as_in_training() -> None:
    parts = splits()
    with pytest.raises(TooFewExamplesError, match="leaves no room for an answer"):
        _work(Splits(parts.train.with_columns(text=pl.lit("word " * 100)), parts.validation, parts.test))
