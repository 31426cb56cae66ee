"""Maths that systems share, without state: rotations, bodies, metrics, smoothing, constants as tensors, results in columns.

`quaternion` is for tensors and `rotation` for numpy arrays, `bodies` finds tracked and virtual bodies, `motion_metrics`
says how far a motion is off its reference, `smoothing` averages curves, `tensors` keeps constants of registrations on the device, `gradients` writes results into columns. Imports torch,
numpy, components and the engine's errors.
"""
