"""The same mathematics for anyone's network."""
