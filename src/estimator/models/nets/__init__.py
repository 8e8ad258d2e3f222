"""Neural networks in JAX."""

from typing import Any

# An array of jax or a traced value, neither of which strict type checking can follow.
Array = Any
