"""What a causal language model answers, greedily, and how likely it finds an answer that is given."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ftzard.core.batching import Indices
from ftzard.core.metrics import FloatArray
from ftzard.core.progress import Progress, ProgressReporter
from ftzard.core.token_budget import FIX_WITHOUT_ESTIMATE, TokenBudget

if TYPE_CHECKING:
    import torch

_logger = logging.getLogger(__name__)

Ids = Sequence[int]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model wrote.

    Attributes:
        token_ids: The one that ends the answer included; without it, the answer was as long as it may be.
        text: Decoded, without special tokens and without whitespace around it.
    """

    token_ids: list[int]
    text: str


def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Ids],
    stop_tokens: set[int],
    *,
    max_new_tokens: int,
    max_tokens: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Answer]:
    """Let a model answer: always its likeliest token, so that the same prompts give the same answers.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        prompts: Token ids, each at least one.
        stop_tokens: What ends an answer; at least one.
        max_new_tokens: Tokens of an answer, at most.
        max_tokens: Tokens of prompts and answers that are computed at once, padding included; halved for the rest where
            memory runs out.
        on_progress: Called after each batch, in prompts.

    Raises:
        OutOfMemoryError: There is no memory for one prompt alone.
    """
    import torch

    lengths = np.array([len(prompt) + max_new_tokens for prompt in prompts], dtype=np.int64)
    found: dict[int, Answer] = {}
    num_tokens = 0

    def answer(batch: Indices) -> None:
        written = _generate(model, [prompts[index] for index in batch], stop_tokens, max_new_tokens)
        for index, ids in zip(batch, written, strict=True):
            found[int(index)] = Answer(ids, tokenizer.decode(ids, skip_special_tokens=True).strip())

    with ProgressReporter("answers", len(prompts), _logger) as reporter, torch.inference_mode():
        for batch in _budget(max_tokens).in_batches(answer, lengths):
            num_tokens += sum(len(found[int(index)].token_ids) for index in batch)
            progress = reporter.update(len(found), num_tokens)
            if on_progress is not None:
                on_progress(progress)
    return [found[index] for index in range(len(prompts))]


def log_probabilities(
    model: Any, prompts: Sequence[Ids], answers: Sequence[Ids], *, max_tokens: int
) -> list[FloatArray]:
    """How likely a model finds each token of given answers, after the prompt and the tokens before it.

    Args:
        model: A causal language model in eval mode.
        prompts: Token ids, each at least one.
        answers: Token ids, as many as prompts.
        max_tokens: Tokens computed at once, padding included; halved for the rest where memory runs out.

    Returns:
        For each answer, the natural logarithm of the probability of each of its tokens.

    Raises:
        OutOfMemoryError: There is no memory for one answer alone.
    """
    import torch

    sequences = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    found: dict[int, FloatArray] = {}

    def score(batch: Indices) -> None:
        logits = model(input_ids=_padded(sequences, batch, model.device), use_cache=False).logits
        for row, index in enumerate(batch):
            start, answer = len(prompts[index]), answers[index]
            # The logits at a place are those of the next token.
            scores = logits[row, start - 1 : start - 1 + len(answer)].float().log_softmax(dim=-1)
            chosen = torch.tensor(list(answer), dtype=torch.int64, device=scores.device)
            found[int(index)] = scores.gather(1, chosen[:, None])[:, 0].double().cpu().numpy()

    with torch.inference_mode():
        for _ in _budget(max_tokens).in_batches(score, lengths):
            pass
    return [found[index] for index in range(len(sequences))]


def _budget(max_tokens: int) -> TokenBudget:
    return TokenBudget(max_tokens, "batch", fix=FIX_WITHOUT_ESTIMATE)


def _generate(model: Any, prompts: Sequence[Ids], stop_tokens: set[int], max_new_tokens: int) -> list[list[int]]:
    import torch
    from transformers import GenerationConfig

    stops = sorted(stop_tokens)
    longest = max(len(prompt) for prompt in prompts)
    # Padded at the left, so that all rows go on at the same place; what pads is masked, so any token will do.
    ids = torch.tensor([[stops[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    # Said in full: what is left out would come from the base model's own generation_config.json.
    how = GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=None,
        top_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max_new_tokens,
        min_new_tokens=0,
        eos_token_id=stops,
        pad_token_id=stops[0],
        use_cache=True,
    )
    written = model.generate(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=how
    )
    return [_until_stop(row, stop_tokens) for row in written[:, longest:].tolist()]


def _until_stop(ids: list[int], stop_tokens: set[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in stop_tokens), len(ids) - 1)
    return ids[: end + 1]


def _padded(sequences: Sequence[Ids], batch: Indices, device: Any) -> "torch.Tensor":
    """Padded at the right: in a causal model no token sees a later one, so no mask is needed."""
    import torch

    longest = max(len(sequences[index]) for index in batch)
    rows = [[*sequences[index], *[0] * (longest - len(sequences[index]))] for index in batch]
    return torch.tensor(rows, dtype=torch.int64, device=device)
