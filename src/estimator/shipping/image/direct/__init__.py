"""Write an OCI image without an engine."""
