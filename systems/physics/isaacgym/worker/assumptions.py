"""What is assumed of Isaac Gym Preview 4 and not stated by its documentation alone; `selfcheck` measures each of them.

A difference that is measured is changed here, for the worker and the self-check alike.
"""

VELOCITY_POINT = "centre of mass"  # whose linear velocity state tensors hold: "centre of mass" or "origin" of the link
FRICTION = "average"  # friction of two shapes that touch: "average" or "maximum" of theirs
SPIN_AXES = "world"  # of angular velocity in state tensors: "world" or "body"
SECOND_SETTER = "replaces"  # what a second call of a setter before `simulate` does to the first: "replaces" or "adds"
