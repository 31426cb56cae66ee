"""pytest-qt is a plugin of these tests only where Qt can be loaded: elsewhere it would end pytest before the first test."""

from importlib import import_module

try:
    for each in ("QtCore", "QtGui", "QtTest", "QtWidgets"):
        import_module(f"PySide6.{each}")
except ImportError:
    pytest_plugins = []
else:
    pytest_plugins = ["pytestqt.plugin"]
