"""From a fitted network to a sealed bundle: float32, ONNX, calibration, figures."""
