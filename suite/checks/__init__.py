"""The suite measures itself: what its sampler costs, and what its settings do to a gradient."""
