"""The page that shows of each image the nearest training images, and which places speak for a class."""
