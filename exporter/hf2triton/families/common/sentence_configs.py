"""The files of sentence-transformers that are named after families."""

#: The files that may hold a Transformer module's settings; the first that is not empty counts. The first name is today's, for
#: every family; the others are those of the first versions (sentence_transformers/base/modules/transformer.py).
SENTENCE_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
