"""Tests of reports on policies."""
