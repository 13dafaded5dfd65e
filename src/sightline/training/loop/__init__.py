"""Keras' own `fit`: what goes in, what is seen of it, when it ends."""
