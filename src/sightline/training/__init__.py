"""The verbs that make a network, and the steps that they are made of."""
