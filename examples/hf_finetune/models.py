"""The model and its tokenizer: of the Hugging Face Hub, of a folder, or new ones."""

from __future__ import annotations

import torch
from options import OptionError, Options
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

END_OF_TEXT = "<|endoftext|>"


def tokenizer_of(options: Options) -> PreTrainedTokenizerBase:
    """The tokenizer that the run asks for; of a resumed run, the one in its checkpoint.

    Raises:
        OptionError: It has no end-of-text token, or must not be read.
    """
    source = options.tokenizer_name_or_path or options.model_name_or_path
    if options.resume_from is not None:
        tokenizer = AutoTokenizer.from_pretrained(str(options.resume_from))
    elif source:
        tokenizer = AutoTokenizer.from_pretrained(_place(source, options))
    else:
        tokenizer = byte_tokenizer()
    if tokenizer.eos_token_id is None:
        raise OptionError(f"the tokenizer {source!r} has no end-of-text token")
    return tokenizer


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A token for each byte, so that any text can be read and nothing has to be downloaded."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: number for number, token in enumerate([END_OF_TEXT, *characters])}
    tokenizer = Tokenizer(BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)


def model_of(options: Options, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model that the run asks for; of a resumed run, the one in its checkpoint. Its weights
    have 32 bits: they are what the optimizer adds to, whatever the precision of a step.

    Raises:
        OptionError: It does not fit the tokenizer or context_length, or must not be read.
    """
    if options.resume_from is not None:
        source = str(options.resume_from)
    elif options.model_name_or_path:
        source = _place(options.model_name_or_path, options)
    else:
        return AutoModelForCausalLM.from_config(_new(options, tokenizer))
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise OptionError("the tokenizer has more tokens than the model has embeddings for")
    limit = getattr(model.config, "max_position_embeddings", options.context_length)
    if options.context_length > limit:
        raise OptionError(f"context_length must be at most {limit}, the model's own")
    return model


def _new(options: Options, tokenizer: PreTrainedTokenizerBase) -> GPT2Config:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=options.context_length,
        n_embd=options.hidden_size,
        n_layer=options.num_layers,
        n_head=options.num_heads,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _place(name: str, options: Options) -> str:
    path = options.path_of(name)
    return name if path is None else str(path)
