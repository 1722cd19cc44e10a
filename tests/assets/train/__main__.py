"""The recipes by name; see the package's docstring."""

from __future__ import annotations

import argparse

import torch
from transformers import set_seed

from .answers import bert_qa
from .entities import entities
from .fashion import clip_fashion, vit_fashion
from .generation import gpt2_verses, gpt2_verses_lora
from .inference import bert_nli
from .masked import masked_lm
from .sentiment import minilm_sentiment_lora, sentiment

RECIPES = {
    "bert-sentiment": lambda: sentiment("bert", ["NEGATIVE", "NEUTRAL", "POSITIVE"]),
    "distilbert-sentiment": lambda: sentiment("distilbert", ["NEGATIVE", "POSITIVE"]),
    "minilm-sentiment-lora": minilm_sentiment_lora,
    "bert-ner": lambda: entities("bert"),
    "distilbert-ner": lambda: entities("distilbert"),
    "electra-ner": lambda: entities("electra"),
    "bert-qa": bert_qa,
    "bert-nli": bert_nli,
    "bert-mlm": lambda: masked_lm("bert"),
    "distilbert-mlm": lambda: masked_lm("distilbert"),
    "gpt2-verses": gpt2_verses,
    "gpt2-verses-lora": gpt2_verses_lora,
    "vit-fashion": vit_fashion,
    "clip-fashion": clip_fashion,
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
