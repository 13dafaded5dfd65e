"""Pictures of a run: sheets of images, learning curves and the confusion matrix, each as PNG bytes."""
