"""A new head on a pretrained backbone, then fine-tuning: stored features, activations, views."""
