"""Random changes of training images: one pipeline, from which batches, views and previews draw."""
