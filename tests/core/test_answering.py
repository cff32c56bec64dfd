"""Greedy answers and log-probabilities, beside what one would compute by hand, a token at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.core.answer_scenario import tiny_base

from ftzard.core.answering import Answer, greedy_answers, log_probabilities
from ftzard.core.base_model import BaseModel
from ftzard.errors import OutOfMemoryError

if TYPE_CHECKING:
    from ftzard.core.progress import Progress

_PROMPTS = ("good day", "a much longer prompt about rain and sun", "x", "bad cat 17")
_MAX_NEW = 7


@cache
def _base() -> BaseModel:
    return tiny_base()


def _ids(text: str) -> list[int]:
    return list(_base().tokenizer(text, add_special_tokens=False).input_ids)


def _answers(stop_tokens: set[int], max_tokens: int = 1024, **options: Any) -> list[Answer]:
    base = _base()
    prompts = [_ids(text) for text in _PROMPTS]
    return greedy_answers(
        base.model, base.tokenizer, prompts, stop_tokens, max_new_tokens=_MAX_NEW, max_tokens=max_tokens, **options
    )


def _by_hand(prompt: list[int]) -> list[int]:
    """The likeliest token, then the likeliest after that, each from a pass over all tokens so far."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(_MAX_NEW):
            ids.append(int(_base().model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_an_answer_is_the_likeliest_token_each_time_with_others_beside_it_in_the_batch() -> None:
    # No token of the tiny model's answers is 2, so none ends early.
    expected = [_by_hand(_ids(text)) for text in _PROMPTS]
    assert all(2 not in ids for ids in expected)
    found = _answers({2})
    assert [one.token_ids for one in found] == expected
    assert [one.token_ids for one in _answers({2}, max_tokens=1)] == expected


def test_an_answer_ends_with_the_first_stop_token_which_is_not_in_its_text() -> None:
    whole = _answers({2})
    stop = whole[0].token_ids[3]
    for cut, full in zip(_answers({2, stop}), whole, strict=True):
        place = full.token_ids.index(stop) + 1 if stop in full.token_ids else _MAX_NEW
        assert cut.token_ids == full.token_ids[:place]


def test_the_text_of_an_answer_has_no_special_token_and_no_whitespace_around_it() -> None:
    base = _base()
    for one in _answers({2}):
        assert one.text == base.tokenizer.decode(one.token_ids, skip_special_tokens=True).strip()


def test_the_base_models_own_settings_for_sampling_are_not_obeyed() -> None:
    settings, before = _base().model.generation_config, _answers({2})
    saved = dict(vars(settings))
    settings.repetition_penalty, settings.do_sample, settings.temperature = 5.0, True, 3.0
    try:
        assert [one.token_ids for one in _answers({2})] == [one.token_ids for one in before]
    finally:
        vars(settings).update(saved)


def test_log_probabilities_are_those_of_one_sequence_at_a_time() -> None:
    prompts = [_ids(text) for text in _PROMPTS]
    answers = [_ids(text) for text in ("yes", "no, not at all", "x", "")]
    found = log_probabilities(_base().model, prompts, answers, max_tokens=1024)
    for prompt, answer, values in zip(prompts, answers, found, strict=True):
        with torch.inference_mode():
            logits = _base().model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
        expected = [float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(answer)]
        assert values == pytest.approx(np.array(expected), abs=1e-4)
        assert (values <= 0).all()


def test_small_batches_give_the_same_numbers() -> None:
    prompts, answers = [_ids(text) for text in _PROMPTS], [_ids("yes")] * len(_PROMPTS)
    alone = log_probabilities(_base().model, prompts, answers, max_tokens=1)
    for one, other in zip(alone, log_probabilities(_base().model, prompts, answers, max_tokens=1024), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_progress_is_told_in_prompts() -> None:
    seen: list[Progress] = []
    _answers({2}, max_tokens=1, on_progress=seen.append)
    assert [progress.done for progress in seen] == [1, 2, 3, 4]


def test_no_prompts_have_no_answers() -> None:
    base = _base()
    assert greedy_answers(base.model, base.tokenizer, [], {2}, max_new_tokens=3, max_tokens=64) == []
    assert log_probabilities(base.model, [], [], max_tokens=64) == []


@contextmanager
def _limited(max_rows: int) -> Iterator[None]:
    """Let the model fail for more than so many rows at once, as an allocation does."""

    def check(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > max_rows:
            message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12"
            raise RuntimeError(message)

    hook = _base().model.get_input_embeddings().register_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def test_where_memory_runs_out_fewer_rows_are_computed_at_once_and_the_answers_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts = [_ids(text) for text in _PROMPTS]
    ids = [one.token_ids for one in _answers({2})]
    likely = log_probabilities(_base().model, prompts, ids, max_tokens=1024)
    with _limited(2):
        assert [one.token_ids for one in _answers({2})] == ids
        found = log_probabilities(_base().model, prompts, ids, max_tokens=1024)
    for mine, theirs in zip(found, likely, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    assert caplog.text.count("out of memory in batch 1 (4 KiB were asked for): from 1024 to ") == 2


def test_a_row_that_has_no_memory_alone_is_an_error_that_says_what_to_do() -> None:
    with _limited(0), pytest.raises(OutOfMemoryError, match=r"although each example was computed alone") as caught:
        _answers({2})
    assert "training.max_tokens_per_batch" in caught.value.fix
    assert "estimate" not in caught.value.fix
