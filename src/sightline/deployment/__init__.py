"""A finished bundle for elsewhere: exported files, kept only where they answer as it does. No Keras."""
