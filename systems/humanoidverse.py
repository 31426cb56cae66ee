"""HumanoidVerse's motion tracking task: its names, layout, weights and numbers, its errors mended.

The setting is the published one: observations `deepmimic_a2c_nolinvel_LARGEnoise_history`, rewards
`dm_2real`, no domain randomisation. Terms have the names that they have there, and stand in the same
alphabetical order. docs/humanoidverse.md lists what is the same and what is mended.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from components.episode import Done, PenaltyScale, SoftLimits
from components.motion import DofFar, MotionCursor, MotionFar, MotionLibrary
from components.observation import ObservationNoise
from components.robot import DofState, RootState
from engine import Bundle, Rng, Write
from systems.episode import curricula
from systems.maths.quaternion import from_rotation_vector, multiply, normalize
from systems.reference import sample_root_and_dofs
from systems.tracking import put_state

RESETS_PER_TICK = 100.0  # 4096 rows whose episodes last 41 steps, between the curricula's thresholds of 40 and 42


ADAPTED = (PenaltyScale, SoftLimits, MotionFar, ObservationNoise)  # what the curricula move


def humanoidverse_curricula(
    *, moving: Collection[type] = ADAPTED, noise: bool = False, dof_far: bool = False
) -> Bundle:
    """Penalties, soft limits, motion-far radius and, with `dof_far`, PBHC's distance of the joints harden while episodes last longer than 42 control steps.

    They ease below 40. Published degrees hold for one tick with resets; here every finished episode counts by
    itself, so they are divided by the `RESETS_PER_TICK` of the published setting. Those that are not `moving` stay at their
    start. `noise` turns on the curriculum of observation noise, which the published setting leaves off.
    """

    def paced(number: type, degree: float, **more: Any) -> Mapping[str, Any] | None:
        return {"degree": degree / RESETS_PER_TICK, "down": 40.0, "up": 42.0, **more} if number in moving else None

    return curricula(
        window=10_000.0,
        penalty=0.1,
        penalty_adapts=paced(PenaltyScale, 1e-5, low=0.0, high=1.0),
        limits=(1.15, 1.15, 1.15),
        limits_adapt=paced(SoftLimits, 2.5e-7, position=(0.95, 1.15), velocity=(0.95, 1.25), torque=(0.85, 1.25)),
        motion_far=1.5,
        motion_far_adapts=paced(MotionFar, 2.5e-5, low=0.3, high=2.0),
        dof_far=3.0 if dof_far else None,
        dof_far_adapts=paced(DofFar, 2e-6, low=1.0, high=3.0),
        noise=0.05 if noise else 1.0,
        noise_adapts=paced(ObservationNoise, 1e-5, low=1e-5, high=1.0) if noise else None,
    )


def reset_near_reference(
    done: Done,
    library: MotionLibrary,
    cursor: MotionCursor,
    rng: Rng,
    root: Write[RootState],
    dofs: Write[DofState],
    *,
    level: float = 0.0,
    on_frames: bool = False,
) -> None:
    """Put ended rows where their clip is when their episode begins, plus Gaussian noise times `level`.

    Deviations at level 1: joints 0.1 rad and 0.15 rad/s, root 0.05 m, 0.01 m/s and 0.01 rad/s. The root also turns
    about a random axis by U(0, 1) times 10 · 3.14 / 180 rad in world axes. `on_frames` as in `reset_to_reference`.
    """
    place, facing, velocity, spin, joints, speeds = sample_root_and_dofs(
        library, cursor.clip, cursor.start, on_frames=on_frames
    )
    if level:
        count = joints.shape[1]
        drawn = torch.randn((len(joints), 12 + 2 * count), generator=rng, device=joints.device)
        off, axis, push, twirl, bend, rush = drawn.split((3, 3, 3, 3, count, count), 1)
        share = torch.rand((len(joints), 1), generator=rng, device=joints.device)
        turned = normalize(axis) * (share * (level * 10.0 * 3.14 / 180.0))
        facing = multiply(from_rotation_vector(turned), facing)
        place, velocity, spin = (
            value.add(noise, alpha=level * std)
            for value, noise, std in ((place, off, 0.05), (velocity, push, 0.01), (spin, twirl, 0.01))
        )
        joints, speeds = joints.add(bend, alpha=0.1 * level), speeds.add(rush, alpha=0.15 * level)
    put_state(done, root, dofs, (place, facing, velocity, spin, joints, speeds))
