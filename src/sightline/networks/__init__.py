"""Name to network. Every network takes uint8 images and ends in logits."""
