"""From a checkpoint to a graph: PyTorch's exporter, with attention written the way we want it."""
