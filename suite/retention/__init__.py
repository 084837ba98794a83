"""What may go from the host and from devices, and what never does."""
