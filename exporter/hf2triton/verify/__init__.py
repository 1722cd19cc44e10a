"""`hf2triton verify`: runs an entry's graphs in the onnxruntime of other releases."""
