"""A Llama with seeded random weights and a byte-level tokenizer, both built in memory.

It has the shape of a real causal language model and knows nothing. Tests and `experiment=tiny` run the whole pipeline
on it in seconds, without a file or a download.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WEIGHTS_SEED = 20260101
_HIDDEN_SIZE = 64
_NUM_LAYERS = 2
_NUM_HEADS = 4
_MAX_POSITIONS = 2048
# Far above the usual 0.02: with so few layers the random features would otherwise hardly depend on the text.
_INITIALIZER_RANGE = 0.2


def build_tiny_llama(dtype: "torch.dtype", attn_implementation: str) -> "tuple[PreTrainedModel, Any]":
    """Model and tokenizer, the same in every process; the caller's random state is left as it was.

    Args:
        dtype: Type of the weights.
        attn_implementation: As `from_pretrained` takes it.

    Returns:
        A `LlamaForCausalLM` of about 130,000 parameters in eval mode on the CPU, and its tokenizer.
    """
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = build_tiny_tokenizer()
    config = tiny_config(tokenizer, attn_implementation=attn_implementation)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_WEIGHTS_SEED)
        model = LlamaForCausalLM(config)
    return model.to(dtype).eval(), tokenizer


def tiny_config(tokenizer: Any, **options: Any) -> Any:
    """The `LlamaConfig` of the model, with what else transformers is to know."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN_SIZE,
        intermediate_size=2 * _HIDDEN_SIZE,
        num_hidden_layers=_NUM_LAYERS,
        num_attention_heads=_NUM_HEADS,
        num_key_value_heads=_NUM_HEADS // 2,
        max_position_embeddings=_MAX_POSITIONS,
        initializer_range=_INITIALIZER_RANGE,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def build_tiny_tokenizer() -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer with a token for each byte, no merges and three special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL_TOKENS))
    end_of_text, start, end = _SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=end_of_text,
        pad_token=end_of_text,
        bos_token=start,
        eos_token=end,
        model_max_length=_MAX_POSITIONS,
    )
