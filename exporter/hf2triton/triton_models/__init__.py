"""Python models that run inside Triton, copied unchanged into entries.

They do not import hf2triton: only numpy, tokenizers, pillow and onnxruntime exist there. `model.py` is Triton's entry point.
"""
