"""From a PyTorch module to ONNX variants that keep its accuracy, and what they say of images."""
