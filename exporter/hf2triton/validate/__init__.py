"""`hf2triton validate`: a served entry against PyTorch's answers."""
