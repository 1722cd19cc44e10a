"""From a checkpoint to a graph: PyTorch's exporter, with the attention written as we want it."""
