"""This machine, through Docker Compose."""
