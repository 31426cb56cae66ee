"""Maths that systems share, without state: rotations, bodies, smoothing, and constants as tensors.

`quaternion` is for tensors and `rotation` for numpy arrays, `bodies` finds tracked and virtual bodies, `smoothing` averages
curves, `tensors` keeps constants of registrations on the device. Imports torch, numpy, components and the engine's errors.
"""
