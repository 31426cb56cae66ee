"""Panels of the window, one file each. May import widgets, model, net, diagnosis and body; panels do not know the window.

A `Panel` names its subscriptions and redraws itself from the store, a `RolePanel` does so for the column of one role;
`PanelHost` keeps it in its dock and replaces it by a traceback when it raises; `edit` has the dialogs that change a run.
"""
