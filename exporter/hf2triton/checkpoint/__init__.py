"""From a source to a loaded checkpoint: files, tokenizer, image processor, adapters, and inputs to ask it."""
