"""Python models that run inside Triton, copied unchanged into entries.

They import nothing of hf2triton: only numpy, tokenizers, pillow and onnxruntime exist there. `model.py` is Triton's entry point.
"""
