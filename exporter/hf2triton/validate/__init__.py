"""`hf2triton validate`: compares a served entry with PyTorch's answers."""
