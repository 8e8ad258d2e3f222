"""Neural networks in JAX."""
