"""What CI systems run on every push."""
