"""The recipes by name; see the package's docstring."""

from __future__ import annotations

import argparse

import torch
from transformers import set_seed

from .answers import bert_qa
from .biases import deberta_sentiment, modernbert_mlm, mpnet_sentiment
from .decoders import gptneo_verses, opt_verses
from .entities import entities
from .fashion import clip_fashion, vit_fashion
from .generation import gpt2_verses, gpt2_verses_lora
from .inference import bert_nli
from .masked import masked_lm
from .ranking import bert_rerank
from .sentiment import minilm_sentiment_lora, sentiment
from .siglip import siglip_fashion
from .vision import deit_fashion, dinov2_fashion, dinov2_registers_fashion

RECIPES = {
    "bert-sentiment": lambda: sentiment("bert", ["NEGATIVE", "NEUTRAL", "POSITIVE"]),
    "distilbert-sentiment": lambda: sentiment("distilbert", ["NEGATIVE", "POSITIVE"]),
    "xlm-roberta-sentiment": lambda: sentiment("xlm-roberta", ["NEGATIVE", "NEUTRAL", "POSITIVE"], epochs=2),
    "minilm-sentiment-lora": minilm_sentiment_lora,
    "bert-ner": lambda: entities("bert"),
    "distilbert-ner": lambda: entities("distilbert"),
    "electra-ner": lambda: entities("electra"),
    "roberta-ner": lambda: entities("roberta"),
    "bert-qa": bert_qa,
    "bert-nli": bert_nli,
    "bert-rerank": bert_rerank,
    "bert-mlm": lambda: masked_lm("bert"),
    "distilbert-mlm": lambda: masked_lm("distilbert"),
    "camembert-mlm": lambda: masked_lm("camembert", steps=1500),
    "gpt2-verses": gpt2_verses,
    "gpt2-verses-lora": gpt2_verses_lora,
    "gptneo-verses": gptneo_verses,
    "opt-verses": opt_verses,
    "vit-fashion": vit_fashion,
    "clip-fashion": clip_fashion,
    "mpnet-sentiment": mpnet_sentiment,
    "deberta-v2-sentiment": deberta_sentiment,
    "modernbert-mlm": modernbert_mlm,
    "deit-fashion": deit_fashion,
    "dinov2-fashion": dinov2_fashion,
    "dinov2-registers-fashion": dinov2_registers_fashion,
    "siglip-fashion": siglip_fashion,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.assets.train", description="Trains checkpoints again.")
    parser.add_argument("names", nargs="+", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    for name in parser.parse_args().names:
        torch.set_num_threads(1)  # sums in one order, whatever the machine
        set_seed(0)  # each recipe gives the same weights wherever it stands in a run
        RECIPES[name]()


if __name__ == "__main__":
    main()
