"""Text generation inside Triton, copied into entries as it is.

Nothing here imports hf2triton: there, only numpy, tokenizers and onnxruntime exist.
"""
