"""The window that shows a running simulation, or a recording of one. It speaks `engine/wire.py` and knows no scene."""
