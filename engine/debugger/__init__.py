"""The live debugger's clients: a window, and a text client. They know only frames; neither torch nor a scene is needed."""
