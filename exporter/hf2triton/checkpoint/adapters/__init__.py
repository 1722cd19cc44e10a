"""LoRA adapters: their files, their vocabulary, and merging them."""
