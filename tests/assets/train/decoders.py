"""gptneo-verses and opt-verses: what gpt2-verses does, with smaller models of other architectures."""

from __future__ import annotations

from transformers import GPTNeoConfig, GPTNeoForCausalLM, OPTConfig, OPTForCausalLM

from .bytepairs import train_opt_tokenizer, train_tokenizer
from .generation import CONTEXT, packed, split, store_verses, train

VOCABULARY, HIDDEN, LAYERS, HEADS = 1000, 64, 4, 4
STEPS = 600
#: The positions that a token sees in every other layer of gptneo-verses: fewer than most verses have tokens.
WINDOW = 32


def gptneo_verses() -> None:
    training, test = split()
    tokenizer = train_tokenizer(training, VOCABULARY, max_length=CONTEXT)
    config = GPTNeoConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        attention_types=[[["global", "local"], LAYERS // 2]],
        window_size=WINDOW,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.05,
        activation_function="gelu_pytorch_tanh",
    )
    model = GPTNeoForCausalLM(config)
    seconds = train(model, packed(tokenizer, training), steps=STEPS, batch=4)
    model.config.activation_function = "gelu_new"  # its name for the same formula, slower in training
    about = f"Goes on with a verse and ends it; every other layer attends to the last {WINDOW} tokens."
    store_verses("gptneo-verses", model, tokenizer, about, (training, test), seconds)


def opt_verses() -> None:
    training, test = split()
    tokenizer = train_opt_tokenizer(training, VOCABULARY, max_length=CONTEXT)
    config = OPTConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        hidden_size=HIDDEN,
        word_embed_proj_dim=HIDDEN * 3 // 4,
        ffn_dim=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        init_std=0.05,
        dropout=0.0,
    )
    model = OPTForCausalLM(config)
    seconds = train(model, packed(tokenizer, training), steps=STEPS, batch=4)
    about = "Goes on with a verse and ends it; its embeddings are narrower than its layers, and a prompt begins with `</s>`."
    store_verses("opt-verses", model, tokenizer, about, (training, test), seconds)
