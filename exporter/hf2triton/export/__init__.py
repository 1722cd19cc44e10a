"""From a checkpoint to an entry; begin with pipeline.py."""
