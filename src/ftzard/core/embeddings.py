"""Texts as points: what an adapter's head sees of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftzard.core.inference import compute_rows, loaded_adapter

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.progress import Progress
    from ftzard.core.records import AdapterDirectory


def embed(
    adapter: "AdapterDirectory",
    texts: Sequence[str],
    config: "FtzardConfig",
    *,
    on_progress: "Callable[[Progress], None] | None" = None,
) -> npt.NDArray[np.float32]:
    """The hidden state at the last token of each prompt: what the label is decided from.

    Args:
        adapter: Verified here before anything of it is used.
        texts: The n texts, cleaned.
        config: Its base model must be the adapter's.
        on_progress: Called after each batch, in examples.

    Returns:
        Shape (n, hidden), in the order of `texts`.

    Raises:
        FtzardError: As `ftzard.core.inference.predict`.
    """
    with loaded_adapter(adapter, texts, config) as loaded:
        return compute_rows(
            loaded.classifier.hidden_states,
            loaded.classifier.hidden_size,
            loaded.prompts,
            config.training.max_tokens_per_batch,
            on_progress=on_progress,
        )
