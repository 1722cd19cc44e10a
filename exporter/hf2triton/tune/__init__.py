"""`hf2triton tune`: the overhead of a call, measured where it is served."""
