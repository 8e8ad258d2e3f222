"""What every room uses: tasks, array types, the registry of kinds, text, the clock, files, AWS."""
