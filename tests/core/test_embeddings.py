"""Embeddings: what the head of an adapter sees, in the order of the texts."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.core.model_scenario import config, splits, train

from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.embeddings import embed
from ftzard.core.inference import predict
from ftzard.core.records import AdapterDirectory
from ftzard.errors import AdapterCorruptError

TEXTS = splits().test["text"].to_list()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> AdapterDirectory:
    return train(tmp_path_factory.mktemp("trained") / "adapter").adapter


def test_the_head_makes_the_predictions_logits_of_the_embeddings(adapter: AdapterDirectory) -> None:
    embeddings = embed(adapter, TEXTS, config())
    assert embeddings.dtype == np.float32
    assert len(embeddings) == len(TEXTS)
    (head,) = (weight for name, weight in load_file(adapter.path / WEIGHTS_NAME).items() if "score" in name)
    logits = predict(adapter, splits().test, config())["logits"].struct.unnest().to_numpy()
    np.testing.assert_allclose(embeddings @ head.T, logits, atol=1e-4)


def test_a_text_has_the_same_embedding_whatever_stands_beside_it(adapter: AdapterDirectory) -> None:
    together = embed(adapter, TEXTS, config())
    backwards = embed(adapter, TEXTS[::-1], config(max_tokens_per_batch=1))
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-4)


def test_no_texts_are_no_rows_of_the_same_width(adapter: AdapterDirectory) -> None:
    assert embed(adapter, [], config()).shape == (0, embed(adapter, TEXTS[:1], config()).shape[1])
    assert predict(adapter, splits().test.clear(), config()).is_empty()


def test_an_adapter_that_is_not_the_one_meant_is_refused(adapter: AdapterDirectory) -> None:
    with pytest.raises(AdapterCorruptError, match="checksum"):
        embed(AdapterDirectory(adapter.path, "0" * 64), TEXTS, config())
