"""Joint orders that motion files are written in without saying so."""

import attrs

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
_WAIST = ("waist_yaw", "waist_roll", "waist_pitch")
_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")


def _chains(waist_joints: int, arm_joints: int) -> tuple[tuple[str, ...], ...]:
    sides = ("left_", "right_")
    legs = [tuple(side + joint for joint in _LEG) for side in sides]
    arms = [tuple(side + joint for joint in _ARM[:arm_joints]) for side in sides]
    return (*legs, _WAIST[:waist_joints], *arms)


def _depth_first(waist_joints: int, arm_joints: int) -> tuple[str, ...]:
    return tuple(f"{joint}_joint" for chain in _chains(waist_joints, arm_joints) for joint in chain)


def _breadth_first(waist_joints: int, arm_joints: int) -> tuple[str, ...]:
    chains = _chains(waist_joints, arm_joints)
    hung = [(0, chain) for chain in chains[:3]] + [(waist_joints, chain) for chain in chains[3:]]
    depth = max(len(_LEG), waist_joints + arm_joints)
    placed = (chain[level - top] for level in range(depth) for top, chain in hung if 0 <= level - top < len(chain))
    return tuple(f"{joint}_joint" for joint in placed)


OWN_ORDER, OWN_BREADTH_FIRST = "depth-first", "breadth-first"  # words for a robot's own orders


@attrs.frozen
class JointOrder:
    """An order in which files write joints: the word for it, what it is in a sentence, and the names."""

    word: str  # as an option of a clip
    label: str  # "joints … <label>"
    names: tuple[str, ...]
    usual: bool = True  # False where a file rarely comes without names in this order


def _both(word: str, whose: str, waist_joints: int, arm_joints: int) -> tuple[JointOrder, JointOrder]:
    return (
        JointOrder(word, f"of {whose}", _depth_first(waist_joints, arm_joints)),
        JointOrder(
            f"{word}-breadth-first",
            f"of {whose}, breadth first as in PhysX",
            _breadth_first(waist_joints, arm_joints),
            usual=False,
        ),
    )


PUBLISHED = (  # of the Unitree G1
    *_both("g1-29", "the G1 with 29 joints", 3, 7),
    *_both("g1-27", "the G1 with 27 joints (one in the waist)", 1, 7),
    *_both("lock-wrist", "ASAP's G1 with 23 joints (three in the waist)", 3, 4),
    *_both("single-waist", "the G1 sold with 23 joints (one in the waist)", 1, 5),
)
DOCUMENTED_ORDER = {29: _depth_first(3, 7), 23: _depth_first(3, 4)}  # of the Unitree G1, with and without wrists
BREADTH_FIRST_ORDER = {29: _breadth_first(3, 7), 23: _breadth_first(3, 4)}  # the same joints as PhysX counts them
