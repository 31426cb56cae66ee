"""Joint orders that motion files are written in without saying so."""

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
_WAIST = ("waist_yaw", "waist_roll", "waist_pitch")
_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")


def _chains(arm_joints: int) -> tuple[tuple[str, ...], ...]:
    arm = _ARM[:arm_joints]
    sides = ("left_", "right_")
    legs = [tuple(side + joint for joint in _LEG) for side in sides]
    return (*legs, _WAIST, *(tuple(side + joint for joint in arm) for side in sides))


def _depth_first(arm_joints: int) -> tuple[str, ...]:
    return tuple(f"{joint}_joint" for chain in _chains(arm_joints) for joint in chain)


def _breadth_first(arm_joints: int) -> tuple[str, ...]:
    hung = [(0, chain) for chain in _chains(arm_joints)[:3]] + [
        (len(_WAIST), chain) for chain in _chains(arm_joints)[3:]
    ]
    depth = len(_WAIST) + arm_joints
    placed = (chain[level - top] for level in range(depth) for top, chain in hung if 0 <= level - top < len(chain))
    return tuple(f"{joint}_joint" for joint in placed)


DOCUMENTED_ORDER = {29: _depth_first(7), 23: _depth_first(4)}  # of the Unitree G1, with and without wrists
BREADTH_FIRST_ORDER = {29: _breadth_first(7), 23: _breadth_first(4)}  # the same joints as PhysX counts them
