"""A version -> an image, a registry, and the place where it runs."""
