"""What a network is fed: its size and colours, and every image in them."""
