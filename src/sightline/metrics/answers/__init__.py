"""What figures are made of: answers beside what is true, and what was asked for beside them."""
