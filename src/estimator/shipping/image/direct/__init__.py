"""Build, start and push OCI images without an engine. Without this folder, images need an engine."""
