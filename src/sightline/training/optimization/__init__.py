"""From a recipe's words to Keras' optimizer, schedule and loss."""
