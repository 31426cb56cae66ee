"""Render: pictures of a MuJoCo model, drawn by a process of its own, since an OpenGL driver may end the one that calls it.

`process.RenderChild` starts the process, sends it poses and takes its pictures; `platforms` are the ways of OpenGL to try, and
`NoPictures` says why there is none. `camera.OrbitCamera` says where points of the world are in a picture. The process runs `program`, which imports nothing of the project, and MuJoCo only there.
May import: errors. No torch, no Qt.
"""
