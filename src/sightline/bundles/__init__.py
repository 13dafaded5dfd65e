"""The deployed part of a run, and all that opens it, checks it and answers with it: no Keras."""
