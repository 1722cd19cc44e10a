"""How far served outputs may differ from PyTorch's in fp32, for each precision: tables that tasks choose from."""

from __future__ import annotations

from dataclasses import replace

from hf2triton_client.evaluation.compare import Tolerance

# fp32: the effect of reordered sums (measured: 1e-6 to 2e-5 on models with 110 million weights), with room for deeper models.
# fp16: 2^-11 relative at each step (measured: 1e-3 to 4e-3 on hidden states with values of about 1 to 4).
# int8: steps of 1/255 of the largest value that a product reads (measured: at most a tenth of the logits' spread, 0.26 on hidden
# states, 0.07 on embeddings).
LOGITS = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.99999, argmax=1.0),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=1e-2, cosine=0.999, argmax=1.0),
    "int8": Tolerance(max_abs=5e-1, mean_abs=8e-2, cosine=0.99, argmax=1.0),
}
# A token's two logits, for a beginning and for an end, are not a direction: near 0 their cosine can have any value.
SPANS = LOGITS | {"int8": Tolerance(max_abs=1.0, mean_abs=1e-1, cosine=None, argmax=1.0)}
# A single logit has no direction, and no largest entry.
SCORE = {name: replace(tolerance, cosine=None, argmax=None) for name, tolerance in LOGITS.items()}
# Logits over a vocabulary reach 100 and more, where fp16 has steps of 0.06. The token may differ if PyTorch's logits for the two
# tokens are closer than `max_abs`.
NEXT_TOKEN = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.99999, argmax=1.0),
    "fp16": Tolerance(max_abs=2e-1, mean_abs=3e-2, cosine=0.9999, argmax=1.0),
    "int8": Tolerance(max_abs=5e-1, mean_abs=1e-1, cosine=0.999, argmax=1.0),
}
STATES = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=2e-3, cosine=0.9999),
    "int8": Tolerance(max_abs=5e-1, mean_abs=2e-2, cosine=0.99),
}
EMBEDDING = {
    "fp32": Tolerance(max_abs=1e-4, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-3, mean_abs=1e-3, cosine=0.9999),
    "int8": Tolerance(max_abs=1e-1, mean_abs=8e-3, cosine=0.98),
}
# Weights are logarithms of logits, from 0 to 4 or so; small ones may vanish.
SPARSE = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=2e-3, cosine=0.9999),
    "int8": Tolerance(max_abs=5e-1, mean_abs=5e-2, cosine=0.99),
}
#: For decoded answers. If logits move by `max_abs`, a probability moves by up to tanh(max_abs / 2); scores may differ as much.
DECODED = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=None),
    "fp16": Tolerance(max_abs=2.5e-2, mean_abs=5e-3, cosine=None),
    "int8": Tolerance(max_abs=2.5e-1, mean_abs=5e-2, cosine=None),
}
