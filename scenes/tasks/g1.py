"""The G1 tracking task: what is observed, what is rewarded, what ends an episode, and by what numbers it is learned."""

import math

from components.motion import MotionLibrary
from engine import Bundle, SceneError, Term, term
from scenes.robots import G1_VARIANTS
from scenes.tasks import Config, Tables, Task
from scenes.tasks.ground import under_clips
from scenes.tasks.readings import readings
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems import tracking_terms as track
from systems.episode import episode, num_steps
from systems.learning.config import PpoConfig
from systems.observation_groups import ACTOR, BOTH, CRITIC
from systems.reference import motion_ended
from systems.robots.model import RobotModel
from systems.tracking import reset_noise, reset_to_reference, start_on_reference, tracking

GYRO = (0.04525, 0.0, -0.08339)  # m, gyro and velocimeter of the G1, in the pelvis frame


def g1_observations(*, state_estimation: bool = True, noise: float = 1.0) -> dict[str, Term]:
    """What is seen: 160 numbers for the actor and 286 for the critic with 29 joints.

    `noise` is the share of the published sensor noise. Without `state_estimation` the actor gets neither anchor position
    nor base velocity: 154 numbers.
    """
    estimated = BOTH if state_estimation else CRITIC
    return {
        "command": term(track.command),
        "anchor_position": term(
            track.anchor_position, noise=0.25 * noise if state_estimation else 0.0, groups=estimated
        ),
        "anchor_orientation": term(track.anchor_orientation, noise=0.05 * noise),
        "bodies_position": term(track.bodies_position, groups=CRITIC),
        "bodies_orientation": term(track.bodies_orientation, groups=CRITIC),
        "base_linear_velocity": term(
            seen.base_linear_velocity, noise=0.5 * noise if state_estimation else 0.0, groups=estimated
        ),
        "base_angular_velocity": term(seen.base_angular_velocity, noise=0.2 * noise),
        "measured_joint_position": term(seen.measured_joint_position, noise=0.01 * noise, groups=ACTOR),
        "joint_position": term(seen.joint_position, groups=CRITIC),
        "joint_velocity": term(seen.joint_velocity, noise=0.5 * noise),
        "last_action": term(seen.last_action),
    }


def g1_rewards() -> dict[str, Term]:
    """What is rewarded; perfect tracking earns 5 per second."""
    return {
        "global_anchor_position": term(track.global_anchor_position, weight=0.5, std=0.3),
        "global_anchor_orientation": term(track.global_anchor_orientation, weight=0.5, std=0.4),
        "body_position": term(track.body_position, weight=1.0, std=0.3),
        "body_orientation": term(track.body_orientation, weight=1.0, std=0.4),
        "body_linear_velocity": term(track.body_linear_velocity, weight=1.0, std=1.0),
        "body_angular_velocity": term(track.body_angular_velocity, weight=1.0, std=3.14),
        "action_rate": term(earn.action_rate, weight=-0.1),
        "joint_limits": term(earn.joint_limits, weight=-10.0),
        "self_collision": term(earn.self_collision, weight=-10.0),
    }


def low_rate_rewards() -> dict[str, Term]:
    """What 25 control steps in one second change: an action covers twice the time."""
    return {"action_rate": term(earn.action_rate, weight=-0.05)}


def g1_terminations(*, seconds: float = 10.0, dt: float = 0.02) -> dict[str, Term]:
    """What ends an episode; `seconds` may be infinite."""
    return {
        "anchor_height": term(track.anchor_height, most=0.25),
        "anchor_tilt": term(track.anchor_tilt, most=0.8),
        "end_effector_height": term(track.end_effector_height, most=0.25),
        "diverged": term(end.diverged, kind="fault"),
        "time_limit": term(end.time_limit, kind="time_limit", steps=num_steps(seconds, dt)),
        "motion_end": term(motion_ended, kind="time_limit"),
    }


def beyondmimic_rewards() -> dict[str, Term]:
    """The G1's rewards with undesired contacts in place of self-collision: those of any body but ankles and wrists.

    A contact counts where it carries more than 1 N at the end of the control step; published is the most of the last 3
    physics steps.
    """
    terms = g1_rewards()
    del terms["self_collision"]
    others = "(?!.*_(ankle|wrist)_).*"
    return {**terms, "undesired_contacts": term(earn.collision, weight=-0.1, bodies=(others,), force=1.0)}


def g1_bundles(
    config: Config, library: MotionLibrary, model: RobotModel, tables: Tables, *, playing: bool, dt: float
) -> list[Bundle]:
    """The task's bundles; `playing` a policy: from each clip's start, without noise or pushes."""
    if config.noise_curriculum:
        raise SceneError(
            f"noise_curriculum=True asks for sensor noise that grows, which the task '{config.task.name}' does not have; "
            "leave it out or choose --config humanoidverse_tracking."
        )
    sensor = GYRO if model.robot.name.startswith("g1") else (0.0, 0.0, 0.0)
    drawn = config.randomised(model, playing, dt)
    return [
        *readings(tables, model, sensor=sensor, moving=not playing, dt=dt),
        episode(spread=1 if playing else num_steps(config.seconds, dt)),
        tracking(
            library,
            model.robot,
            rewards=tables.rewards,
            terminations=tables.terminations,
            observations=tables.observations,
            start="start" if playing else config.starts,
            order="cycle" if playing else "weight",
            **config.parts(playing),
            reset=start_on_reference if playing else reset_to_reference,
            reset_noise={} if playing else reset_noise(config.robustness),
            noisy=not playing,
            on_tiles=model.terrain is not None,
            dt=dt,
        ),
        *drawn,
        *under_clips(config, model, library, drawn, playing=playing),
    ]


G1 = Task(name="g1", robots=G1_VARIANTS, bundles=g1_bundles)
LAPTOP = Config(  # measured on two cores
    task=G1,
    num_envs=512,
    control="servo",
    around="reference",
    self_collision=False,
    seconds=10.0,
    substeps=3,
    robustness=0.1,
    observations="mjlab_tracking",
    rewards="mjlab_tracking",
    terminations="mjlab_tracking",
    randomise="mjlab_tracking.push,mjlab_tracking.encoder_bias",
    randomise_played="mjlab_tracking.encoder_bias",
    learning=PpoConfig(hidden=(256, 128), init_std=0.25, desired_kl=0.02, entropy_weight=0.001, value_clip=math.inf),
)
MJLAB = LAPTOP.replace(
    num_envs=4096,
    around="default",
    self_collision=True,
    substeps=4,
    robustness=1.0,
    sampling="adaptive",
    randomise="mjlab_tracking",
    randomise_played="mjlab_tracking,-push",
    iterations=30_000,
    learning=PpoConfig(),
)
BEYONDMIMIC = MJLAB.replace(rewards="beyondmimic", randomise="beyondmimic", randomise_played="beyondmimic,-push")


def at_25_hz(config: Config) -> Config:
    """The low-rate variant of a configuration at 50 Hz: half the control steps, each discounted as two."""
    learning = config.learning
    return config.replace(
        rate=25.0,
        substeps=2 * config.substeps,
        rewards=f"{config.rewards},-action_rate,low_rate",
        horizon=learning.horizon // 2,
        gamma=round(learning.gamma**2, 6),
        lam=round(learning.lam**2, 6),
    )


CONFIGS = {
    "laptop": LAPTOP,
    "mjlab_tracking": MJLAB,
    "mjlab_tracking_25hz": at_25_hz(MJLAB),
    "beyondmimic_tracking": BEYONDMIMIC,
    "beyondmimic_tracking_25hz": at_25_hz(BEYONDMIMIC),
    "published": MJLAB,  # a shorter name of mjlab_tracking
}
