"""Config and rows -> a trained, checked and reported version."""
