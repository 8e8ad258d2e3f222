"""One renderer, charts and a style sheet for every HTML page."""
