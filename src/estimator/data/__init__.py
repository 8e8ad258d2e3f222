"""Where rows come from and what they must look like: schema, sources, target, splits, sinks."""
