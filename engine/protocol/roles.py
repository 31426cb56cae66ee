"""Roles of columns: the parts that a debugger looks for, and the column that usually plays each.

A scene names the columns of its roles in `View.roles`. Where it names none, the column with the usual name plays the role.
"""

USUAL_COLUMNS = {
    "reward_terms": "Reward.terms",
    "reward_total": "Reward.total",
    "observation": "Observation.actor",
    "action": "Action.value",
    "action_drawn": "Rollout.action",
    "action_mean": "Rollout.mean",
    "command": "Command.velocity",
    "torque": "DofTorque.value",
    "dof_position": "DofState.position",
    "velocity": "DofState.velocity",
    "ended": "Done.ended",
    "terminated": "Done.terminated",
    "reason": "Done.reason",
    "episode_step": "Episode.step",
    "clip": "MotionCursor.clip",
    "clip_time": "MotionCursor.time",
    "next_clip": "NextClip.asked",
    "value": "Rollout.value",
    "advantage": "Rollout.advantage",
    "log_prob": "Rollout.log_prob",
    "contact": "Contact.touching",
    "contact_force": "ContactForce.force",
    "body_velocity": "BodyState.linear_velocity",
    "reference": "MotionReference.body_position",
    "origin": "TerrainTile.origin",
    "root_velocity": "RootState.linear_velocity",
}
"""By role: 'Component.column' of the column that plays it unless the scene names another one."""
