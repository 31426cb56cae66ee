"""Programs and packages that stand in for what cannot be had in tests."""
