"""Learning, without its systems: networks, normalisers and their configuration. May import: components, engine."""
