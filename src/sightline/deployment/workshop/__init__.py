"""What stands behind the studio: folders below one root, commands as processes of their own, and the page over both."""
