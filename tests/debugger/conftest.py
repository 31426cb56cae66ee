"""Windows of these tests are drawn offscreen; said before anything imports Qt."""

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"
