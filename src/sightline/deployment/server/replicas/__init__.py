"""The server on several machines: one process lets in what comes by HTTP, and replicas on a cluster answer it."""
