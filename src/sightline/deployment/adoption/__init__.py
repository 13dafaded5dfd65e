"""Networks that others made, turned into bundles: read by their bytes, wrapped, compared with what they came as."""
