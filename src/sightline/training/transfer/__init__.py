"""Training on a pretrained backbone."""
