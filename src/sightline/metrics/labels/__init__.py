"""How well given labels fit what is seen in images: answers out of fold, and what they say of each label."""
