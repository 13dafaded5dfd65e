"""From what was asked for to rows, a recipe without "auto" and the folder of the run. Imports no Keras."""
