"""What a bundle says of its answers beside their class, by rows that nothing was learned from or chosen by."""
