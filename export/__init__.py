"""Networks in torch, their weights, and their way to ONNX. torch is imported here and nowhere else."""
