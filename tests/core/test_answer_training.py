"""Training through TRL: what is learnt, from what, and that nothing else is changed by it."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tests.core.answer_scenario import config, examples, few, splits, tiny_base

from ftzard.config import FtzardConfig, LoraConfig
from ftzard.core.adapter import WEIGHTS_NAME, verify_adapter
from ftzard.core.adapter_documents import ANSWERS_NAME, read_labels, read_manifest
from ftzard.core.answer_format import read_answer_format
from ftzard.core.answer_inference import predict_answers
from ftzard.core.answer_predictions import sums, without_adapter
from ftzard.core.answer_prompts import AnswerEncoder, answer_format
from ftzard.core.answer_training import train_answers
from ftzard.core.answering import log_probabilities
from ftzard.core.base_model import BaseModel, borrowed_base_model
from ftzard.core.encoded_answers import EncodedAnswers, encode_answers
from ftzard.core.language_model import lora_language_model
from ftzard.core.progress import Progress
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.seeding import all_seeded
from ftzard.core.trainer_watch import TrainerRecord
from ftzard.core.training import TrainingResult
from ftzard.core.trl_trainer import batch_size, run_trainer
from ftzard.errors import (
    AdapterMismatchError,
    ConfigError,
    OutOfMemoryError,
    TooFewExamplesError,
    TrainingDivergedError,
)

if TYPE_CHECKING:
    from ftzard.core.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


def _train(folder: Path, settings: FtzardConfig, parts: Splits | None = None, **options: Any) -> TrainingResult:
    return train_answers(parts or few(settings.data.task), settings, folder / "adapter", **options)


def _bytes(adapter: AdapterDirectory) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in adapter.path.iterdir()}


def _share_right(predictions: pl.DataFrame, column: str) -> float:
    return predictions.filter(pl.col(column) == pl.col("label")).height / predictions.height


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return _train(tmp_path_factory.mktemp("sft"), config(num_train_epochs=4, train_batch_size=4), splits())


@pytest.fixture(scope="module")
def preferring(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    settings = config("preference", num_train_epochs=2, train_batch_size=4)
    return _train(tmp_path_factory.mktemp("dpo"), settings, splits("preference"))


def test_the_model_learns_to_write_the_answers(trained: TrainingResult) -> None:
    predictions = predict_answers(trained.adapter, splits().test, config())
    assert _share_right(predictions, "prediction") > 0.7
    assert _share_right(predictions, "untrained_prediction") == 0.0
    gain = sums(predictions["completion_log_probabilities"]) - sums(
        predictions["untrained_completion_log_probabilities"]
    )
    assert (gain > 1).all()


def test_the_adapter_directory_keeps_its_contract(trained: TrainingResult) -> None:
    adapter = verify_adapter(trained.adapter.path)
    names = {file.name for file in adapter.path.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", ANSWERS_NAME, "manifest.json"} <= names
    assert "labels.json" not in names
    assert all(Path(name).suffix in {".safetensors", ".json"} for name in names)
    assert '"task_type": "CAUSAL_LM"' in (adapter.path / "adapter_config.json").read_text()
    assert {"accelerate", "trl"} <= set(read_manifest(adapter.path).versions)
    assert read_answer_format(adapter.path) == answer_format(config())
    with pytest.raises(AdapterMismatchError, match="writes answers, and a classifier is asked for"):
        read_labels(adapter.path)


def test_anyone_can_load_the_adapter_with_peft(trained: TrainingResult) -> None:
    from peft import PeftModel

    base = tiny_base()
    model = PeftModel.from_pretrained(base.model, str(trained.adapter.path)).eval()
    encoder = AnswerEncoder(answer_format(config()), base.tokenizer)
    encoded = encode_answers(splits().test, encoder)
    found = log_probabilities(model, encoded.prompts, encoded.answers, max_tokens=1024)
    ours = predict_answers(trained.adapter, splits().test, config())["completion_log_probabilities"]
    assert np.array([one.sum() for one in found]) == pytest.approx(sums(ours), abs=1e-3)


def test_each_step_and_each_epoch_are_written_down_and_told(tmp_path: Path) -> None:
    seen: list[Progress] = []
    parts = Splits(few().train, examples(4, 2), few().test)
    result = _train(tmp_path, config(train_batch_size=4), parts, on_progress=seen.append)
    # 8 examples, 4 an optimizer step, 2 epochs.
    assert result.curve["step"].to_list() == [1, 2, 3, 4]
    assert result.curve["epoch"].to_list() == [1, 1, 2, 2]
    assert [(one.done, one.total) for one in seen] == [(step, 4) for step in range(1, 5)]
    assert result.validation["epoch"].to_list() == [1, 2]
    assert result.validation["loss"][1] < result.validation["loss"][0]
    encoder = AnswerEncoder(answer_format(config()), tiny_base().tokenizer)
    num_tokens = sum(encode_answers(parts.train, encoder).lengths)
    assert result.curve["num_tokens"].sum() == 2 * num_tokens


def _one_step(base: BaseModel, encoded: EncodedAnswers, settings: FtzardConfig) -> TrainerRecord:
    with all_seeded(0, "cpu"), lora_language_model(base, settings.training.lora) as model:
        return run_trainer(model, base.tokenizer, encoded, settings, on_progress=None, validate=None)


def _encoded(base: BaseModel, num: int = 12) -> EncodedAnswers:
    return encode_answers(examples(num, 5), AnswerEncoder(answer_format(config()), base.tokenizer))


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("packing", [False, True])
def test_the_loss_is_that_of_the_answers_alone_packed_or_not(attn_implementation: str, packing: bool) -> None:
    """A fresh adapter changes nothing, so the first loss is what the base model thinks of the answers.

    With packing this holds only if no example sees the one before it in its row.
    """
    model = {"attn_implementation": attn_implementation}
    settings = config(model=model, num_train_epochs=1, train_batch_size=16, packing=packing)
    with borrowed_base_model(settings.model, "cpu") as base:
        encoded = _encoded(base)
        alone = log_probabilities(base.model, encoded.prompts, encoded.answers, max_tokens=1)
        record = _one_step(base, encoded, settings)
    assert record.curve().height == 1
    tokens = np.concatenate(alone)
    assert record.curve()["loss"][0] == pytest.approx(-tokens.mean(), abs=1e-4)


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_only_the_places_of_answers_go_through_the_output_layer(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl.trainer.utils

    seen: list[int] = []
    own, function = trl.trainer.utils._use_triton, trl.trainer.utils._ChunkedLogProbFunction

    class Watched:
        @staticmethod
        def apply(hidden: torch.Tensor, *rest: Any) -> Any:
            seen.append(len(hidden))
            return function.apply(hidden, *rest)

    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", Watched)
    done = train_answers(few(task), config(task, num_train_epochs=1, train_batch_size=8), tmp_path / "adapter")
    encoded = encode_answers(few(task).train, AnswerEncoder(answer_format(config(task)), tiny_base().tokenizer))
    sides = [encoded.answers, *([encoded.rejected] if encoded.rejected else [])]
    num_answers = sum(len(answer) for side in sides for answer in side)
    # DPO asks the model before, too.
    assert seen == [num_answers] * len(sides)
    assert done.curve.height == 1
    assert trl.trainer.utils._use_triton is own


def test_packing_takes_fewer_rows(tmp_path: Path) -> None:
    settings = config(packing=True, train_batch_size=1, num_train_epochs=1)
    packed = _train(tmp_path / "one", settings)
    plain = _train(tmp_path / "two", config(train_batch_size=1, num_train_epochs=1))
    # Rows of 64 tokens, examples of 13 at most.
    assert (packed.curve.height, plain.curve.height) == (2, 8)
    assert packed.curve["num_tokens"].sum() == plain.curve["num_tokens"].sum()


def test_a_step_in_parts_is_the_step_as_a_whole() -> None:
    base = tiny_base()
    encoded = _encoded(base)
    whole, parts = (
        _one_step(base, encoded, config(num_train_epochs=2, max_tokens_per_batch=budget)).curve()["loss"]
        for budget in (4096, max(encoded.lengths))
    )
    assert parts.to_list() == pytest.approx(whole.to_list(), abs=1e-4)


def test_the_same_training_makes_the_same_bytes(tmp_path: Path) -> None:
    one, other = (_train(tmp_path / name, config(num_train_epochs=1)) for name in ("one", "other"))
    assert _bytes(one.adapter) == _bytes(other.adapter)
    reseeded = _train(tmp_path / "third", config(num_train_epochs=1, seed=1))
    assert reseeded.adapter.checksum != one.adapter.checksum


@pytest.mark.parametrize("task", ["generation", "preference"])
def test_the_base_model_its_tokenizer_and_the_callers_random_numbers_are_left_as_they_were(
    tmp_path: Path, task: str
) -> None:
    settings = config(task, num_train_epochs=1)
    with borrowed_base_model(settings.model, "cpu") as base:
        weights = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
        forward, attributes = base.model.forward, set(vars(base.model))
        configs = base.model.config.to_dict(), base.model.generation_config.to_dict()
        pad_token = base.tokenizer.pad_token
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    parts = few(task)
    _train(tmp_path, settings, Splits(parts.train, parts.test, parts.test))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    with borrowed_base_model(settings.model, "cpu") as again:
        assert again is base
        assert again.model.forward == forward
        assert set(vars(again.model)) == attributes
        assert (again.model.config.to_dict(), again.model.generation_config.to_dict()) == configs
        assert again.tokenizer.pad_token == pad_token
        assert not again.model.training
        assert not any(parameter.requires_grad for parameter in again.model.parameters())
        state = again.model.state_dict()
        assert state.keys() == weights.keys()
        assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    _train(tmp_path, config(num_train_epochs=1))
    assert [path.name for path in scratch.iterdir() if path.name.startswith("ftzard")] == []
    assert not (scratch / "trainer_output").exists()


def test_a_prompt_that_fills_max_length_is_left_out_and_a_long_answer_is_cut(tmp_path: Path) -> None:
    parts = few()
    first, second, *_ = parts.train["text_hash"]
    train = parts.train.with_columns(
        text=pl.when(text_hash=first).then(pl.lit("long " * 40)).otherwise("text"),
        label=pl.when(text_hash=second).then(pl.lit("yes " * 40)).otherwise("label"),
    )
    result = _train(tmp_path, config(num_train_epochs=1), Splits(train, parts.validation, parts.test))
    assert result.num_left_out == 1
    assert result.num_truncated == 1


def test_where_no_prompt_leaves_room_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(TooFewExamplesError, match=r"model\.max_length is 8") as raised:
        _train(tmp_path, config(model={"max_length": 8}))
    assert "model.max_length" in raised.value.fix


def test_a_training_that_diverges_is_told_with_its_step_and_writes_nothing(tmp_path: Path) -> None:
    settings = config(learning_rate=1e30, warmup_fraction=0.0, train_batch_size=4, checkpoint_interval_s=0.0)
    with pytest.raises(TrainingDivergedError, match="in optimizer step 2 the loss is nan"):
        _train(tmp_path, settings, checkpoint_dir=tmp_path / "checkpoints")
    assert not (tmp_path / "adapter").exists()


def test_a_validation_that_is_no_number_is_told_with_its_step(tmp_path: Path) -> None:
    settings = config(learning_rate=1e30, warmup_fraction=0.0, num_train_epochs=1)
    parts = Splits(few().train, few().test, few().test)
    with pytest.raises(TrainingDivergedError, match="in epoch 1, after optimizer step 1, the validation"):
        _train(tmp_path, settings, parts)


def test_weights_that_are_no_numbers_after_the_last_step_are_told(tmp_path: Path) -> None:
    settings = config(learning_rate=1e39, warmup_fraction=0.0, num_train_epochs=1)
    with pytest.raises(TrainingDivergedError, match="after optimizer step 1, the last one, weights"):
        _train(tmp_path, settings)


def test_a_lack_of_memory_is_told_with_its_step_and_writes_nothing(tmp_path: Path) -> None:
    hooks: list[torch.utils.hooks.RemovableHandle] = []

    def ask_for_too_much(*_: Any) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    def on_progress(progress: "Progress") -> None:
        if progress.done == 1:
            hooks.append(torch.nn.modules.module.register_module_forward_pre_hook(ask_for_too_much))

    try:
        with pytest.raises(OutOfMemoryError, match=r"optimizer step 2 although each .* alone.*: 1,152,921,5"):
            _train(tmp_path, config(train_batch_size=4), on_progress=on_progress)
    finally:
        for hook in hooks:
            hook.remove()
    assert not (tmp_path / "adapter").exists()


def test_a_validation_answer_is_cut_as_it_would_be_for_training(tmp_path: Path) -> None:
    settings, parts = config(num_train_epochs=1, learning_rate=1e-9), few()
    long = examples(1, 8).with_columns(label=pl.lit("yes " * 3000))
    fills = examples(1, 9).with_columns(text=pl.lit("word " * 3000))
    result = _train(tmp_path, settings, Splits(parts.train, pl.concat([long, fills]), parts.test))
    encoder = AnswerEncoder(answer_format(settings), tiny_base().tokenizer)
    encoded = encode_answers(long, encoder)
    answer = encoded.answers[0][: 64 - len(encoded.prompts[0])]
    (found,) = log_probabilities(tiny_base().model, encoded.prompts, [answer], max_tokens=64)
    assert result.validation["loss"][0] == pytest.approx(-found.mean(), abs=1e-3)


def test_an_adapter_on_the_output_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lm_head is the output layer"):
        _train(tmp_path, config(lora=LoraConfig(target_modules=("q_proj", "lm_head"))))


def test_ranks_by_pattern_and_chosen_layers_are_those_of_the_adapter(tmp_path: Path) -> None:
    lora = LoraConfig(r=4, rank_pattern={"q_proj": 2}, layers_to_transform=(1,), init_lora_weights="gaussian")
    settings = config(num_train_epochs=1, lora=lora)
    result = _train(tmp_path, settings)
    weights = load_file(result.adapter.path / WEIGHTS_NAME)
    assert all(".layers.1." in name for name in weights)
    assert {len(tensor) for name, tensor in weights.items() if "q_proj.lora_A" in name} == {2}
    assert {len(tensor) for name, tensor in weights.items() if "k_proj.lora_A" in name} == {4}
    assert predict_answers(result.adapter, few().test, settings)["prediction"].null_count() == 0
    with pytest.raises(ConfigError, match="the model has 2"):
        _train(tmp_path / "other", config(lora=LoraConfig(layers_to_transform=(7,))))
    with pytest.raises(ConfigError, match="no change of it can have a rank above"):
        _train(tmp_path / "third", config(lora=LoraConfig(r=500)))


def test_training_goes_on_from_the_adapter_that_is_given(tmp_path: Path, trained: TrainingResult) -> None:
    settings = config(num_train_epochs=1, learning_rate=1e-9)
    result = _train(tmp_path, settings, initial=trained.adapter)
    assert result.curve["loss"][0] < trained.curve["loss"][0] / 4
    predictions = predict_answers(result.adapter, few().test, settings, untrained=False)
    before = predict_answers(trained.adapter, few().test, settings, untrained=False)
    assert predictions["prediction"].to_list() == before["prediction"].to_list()


def test_an_adapter_of_another_template_is_not_gone_on_from(tmp_path: Path, trained: TrainingResult) -> None:
    other = config()
    other = config(model={"generation": {**vars(other.model.generation), "prompt_template": "Q: {text}"}})
    with pytest.raises(AdapterMismatchError, match="prompt_template"):
        _train(tmp_path, other, initial=trained.adapter)


def test_preference_training_raises_the_chosen_answers_above_the_rejected(preferring: TrainingResult) -> None:
    train = splits("preference").train
    predictions = predict_answers(preferring.adapter, train, config("preference"))
    before = without_adapter(predictions)
    margins, margins_before = (
        sums(frame["chosen_log_probabilities"]) - sums(frame["rejected_log_probabilities"])
        for frame in (predictions, before)
    )
    assert (margins > margins_before).all()
    assert (margins > 0).mean() > 0.9 > (margins_before > 0).mean()
    # Nothing is learnt yet: -log sigmoid(0).
    assert preferring.curve["loss"][0] == pytest.approx(np.log(2), abs=1e-4)
    assert preferring.validation["preference_accuracy"][-1] > 0.5
    assert preferring.validation["loss"][-1] < np.log(2)


def test_a_larger_beta_stays_nearer_to_the_model_before(tmp_path: Path) -> None:
    moved = {}
    for beta in (0.05, 5.0):
        settings = config("preference", beta=beta, num_train_epochs=4)
        result = _train(tmp_path / str(beta), settings)
        predictions = predict_answers(result.adapter, few("preference").test, settings)
        gains = sums(predictions["chosen_log_probabilities"]) - sums(predictions["untrained_chosen_log_probabilities"])
        moved[beta] = float(np.abs(gains).mean())
    assert moved[5.0] < moved[0.05]


def test_an_adapter_of_one_task_does_not_serve_another(trained: TrainingResult) -> None:
    with pytest.raises(AdapterMismatchError, match=r"data\.task=generation without messages"):
        predict_answers(trained.adapter, splits("preference").test, config("preference"))


def test_a_prompt_beyond_the_models_window_names_its_row(trained: TrainingResult) -> None:
    long = splits().test.head(1).with_columns(text=pl.lit("word " * 500))
    with pytest.raises(ConfigError, match=r"toy\.csv, row 1 has 2500 tokens.*window of 2048") as raised:
        predict_answers(trained.adapter, long, config())
    assert "data.max_characters" in raised.value.fix
    given = splits().test.head(1).with_columns(label=pl.lit("word " * 500))
    with pytest.raises(ConfigError, match=r"prompt and answer in toy\.csv, row 1 have 25\d\d tokens.*window of 2048"):
        predict_answers(trained.adapter, given, config())


def test_of_prompts_that_come_in_those_beyond_the_window_can_be_left_out_unless_all_are(
    trained: TrainingResult,
) -> None:
    asked = splits().test.with_columns(label=pl.lit(None, dtype=pl.String))
    long = asked.with_columns(text=pl.when(pl.col("row") == 3).then(pl.lit("word " * 500)).otherwise("text"))
    answers = predict_answers(trained.adapter, long, config(), leave_out=True)
    assert answers.equals(predict_answers(trained.adapter, asked.filter(pl.col("row") != 3), config()))
    with pytest.raises(ConfigError, match=r"toy\.csv, row 3 has 2500 tokens.*window of 2048"):
        predict_answers(trained.adapter, long.filter(pl.col("row") == 3), config(), leave_out=True)


def test_a_test_prompt_beyond_the_models_window_is_told_before_the_training(tmp_path: Path) -> None:
    parts = splits()
    long = replace(parts, test=parts.test.with_columns(text=pl.lit("word " * 500)))
    reported: list[Progress] = []
    with pytest.raises(ConfigError, match=r"toy\.csv, row 1 has 2500 tokens.*window of 2048"):
        train_answers(long, config(), tmp_path / "adapter", on_progress=reported.append)
    assert not reported


@pytest.mark.parametrize(
    ("size", "longest", "budget", "rows"),
    [(16, 10, 1024, 16), (16, 100, 1024, 8), (6, 9, 30, 3), (16, 2000, 1024, 1)],
)
def test_the_rows_of_a_pass_divide_the_optimizer_step_and_keep_to_the_budget(
    size: int, longest: int, budget: int, rows: int
) -> None:
    assert batch_size(size, longest, budget) == rows
