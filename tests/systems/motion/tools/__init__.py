"""Tests of the clip tools."""
