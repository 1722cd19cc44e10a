"""Python models that run inside Triton, copied into entries as they are.

They import nothing of hf2triton: there, only numpy, tokenizers and onnxruntime exist. `model.py` is Triton's entry point.
"""
