"""Turn a Hugging Face checkpoint into a proven, fp16, Triton-served model. Read `export/pipeline.py` first."""

__version__ = "0.1.0"
