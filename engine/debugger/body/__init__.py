"""Picture of the robot: the skeleton of the schema, QPainter and the mouse camera, and meshes by a render process.

May import widgets, model, net and diagnosis. `Skeleton` and `BodyPose` say what is drawn, `Viewport` draws it,
`MeshView` brings pictures of a `RenderProcess`, which is a thread around `engine.render`.
"""
