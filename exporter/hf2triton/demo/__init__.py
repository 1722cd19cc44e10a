"""`hf2triton demo`: the complete process, with weights from Python packages."""
