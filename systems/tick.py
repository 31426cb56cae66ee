"""Phases of a tick and their order: the only ordering in the project.

BEGIN runs once, before the first tick enters at RESET with every row marked done; there is no other
start-up path. The bracketed group repeats as often as physics asks for.

    BEGIN | ACT ACTUATE [TORQUE STEP] SENSE TERMINATE REWARD ADVANCE RECORD PERTURB RESET REFRESH
                COMMAND OBSERVE LEARN INSPECT
"""

from engine.ecs.schedule import Tick

BEGIN = "BEGIN"  # first tick only: every row counts as ended
ACT = "ACT"  # what does the policy want?
ACTUATE = "ACTUATE"  # what reaches the joints, and when?
TORQUE = "TORQUE"  # what do the motors do, every substep?
STEP = "STEP"  # what does physics do with it?
SENSE = "SENSE"  # where is everything now?
TERMINATE = "TERMINATE"  # whose episode ended, and why?
REWARD = "REWARD"  # how good was it?
ADVANCE = "ADVANCE"  # what comes next, if the episode goes on?
RECORD = "RECORD"  # what must the learner keep before rows reset?
PERTURB = "PERTURB"  # who gets pushed?
RESET = "RESET"  # which rows start over, and where?
REFRESH = "REFRESH"  # same systems as SENSE, after the rewrites
COMMAND = "COMMAND"  # what should be done next?
OBSERVE = "OBSERVE"  # what may the policy see?
LEARN = "LEARN"  # what do we conclude?
INSPECT = "INSPECT"  # who is watching?

TICK = Tick(
    phases=(
        ACT, ACTUATE, TORQUE, STEP, SENSE, TERMINATE, REWARD, ADVANCE, RECORD,
        PERTURB, RESET, REFRESH, COMMAND, OBSERVE, LEARN, INSPECT,
    ),
    repeat=(TORQUE, STEP),
    begin=BEGIN,
    entry=RESET,
    finished=RECORD,
    shares={"physics": (TORQUE, STEP), "learning": (LEARN,)},
)  # fmt: skip
