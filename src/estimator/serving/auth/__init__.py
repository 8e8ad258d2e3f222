"""Access to the server: API keys, scopes and rate limits."""
