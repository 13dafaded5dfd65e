"""From what was asked for to rows and a recipe without "auto", and the folder of the run. Imports no Keras."""
