"""Application: the window, its layout, toolbar, actions and files. May import every other room of the debugger.

`window.show` opens a window on a run or a recording; `MainWindow` holds the panels, `WindowActions` what keys and menus do.
"""
