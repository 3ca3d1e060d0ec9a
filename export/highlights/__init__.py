"""The learned scorer of highlights: people's marks, training, rank correlations, and its ONNX file."""
