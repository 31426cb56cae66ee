"""The window that shows a running simulation, or a recording of one. It speaks `engine/protocol/framing.py` and knows no scene."""
