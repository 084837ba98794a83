"""What reports read from the store, question by question; `suite.store.source` puts the answers together."""
