"""Experiments, one file each: a task, its numbers, its robot, and how a trained policy is measured and shown.

`tasks` holds the tables of terms of larger tasks, `robots` the robots by name, `policies` a trained policy. May import
everything; nobody imports a scene.
"""
