"""What learners need that is no system: networks, normalisers and their configuration. May import: components, engine."""
