"""An artefact -> HTTP."""
