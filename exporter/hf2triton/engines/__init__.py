"""What runs a graph: devices, and the configs that Triton needs for them."""
