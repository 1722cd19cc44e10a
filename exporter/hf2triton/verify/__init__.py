"""`hf2triton verify`: an entry's graphs in the onnxruntime of other releases."""
