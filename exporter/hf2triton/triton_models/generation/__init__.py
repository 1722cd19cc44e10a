"""Text generation inside Triton, copied unchanged into entries.

Nothing here imports hf2triton: only numpy, tokenizers and onnxruntime exist there.
"""
