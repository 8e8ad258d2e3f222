"""Columns -> numbers: encoders, and the matrix by their graph."""
