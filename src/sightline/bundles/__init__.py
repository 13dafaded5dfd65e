"""The deployed part of a run, and all that runs it: no Keras."""
