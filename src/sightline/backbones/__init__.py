"""The network that comes with the package, pretrained on ImageNet, and what is known of others."""
