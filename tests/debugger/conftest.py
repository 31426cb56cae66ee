"""Windows are drawn to memory: Qt looks for its platform when it is first imported."""

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QT_SCALE_FACTOR"] = "1"
