"""What every room leans on: tasks, the registry of kinds, text, the clock, files, AWS."""
