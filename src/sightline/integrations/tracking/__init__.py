"""A run told as it learns to a tracker of experiments, MLflow or Weights & Biases; none can stop a training."""
