"""Llama models: configuration, weights and where they come from, the network itself."""
