"""What a bundle or a run is worth: figures on its rows, runs side by side, images that look alike."""
