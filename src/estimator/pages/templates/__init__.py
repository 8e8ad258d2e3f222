"""Text we write out: page shells and first files."""
