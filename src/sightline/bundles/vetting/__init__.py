"""Files of Keras and HDF5, which may be a stranger's: looked at by their bytes before Keras opens them."""
