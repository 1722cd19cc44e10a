"""Whether what is served is the model that was trained: PyTorch's answers, and checks against them."""
