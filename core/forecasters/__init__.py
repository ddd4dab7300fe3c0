"""A student as something that forecasts by itself: modules, ONNX graphs, torch.export programs."""
