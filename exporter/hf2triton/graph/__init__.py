"""From a PyTorch model to the ONNX graph that is served."""
