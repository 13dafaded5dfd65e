"""Random changes of training images, and views of them."""
