"""A version over HTTP: the server, its routes, access, telemetry and pages."""
