"""`hf2triton demo`: the whole way, with weights that Python packages ship."""
