"""Rules about what robots see, do and earn: observation, action, motors, jitter, gait, reward."""

from collections.abc import Sequence

import numpy as np

from engine.debugger.diagnosis import indicators
from engine.debugger.diagnosis.finding import RuleFinding, Severity, attention, cannot_judge, note
from engine.debugger.diagnosis.indicators import ChannelIndicators, KernelIndicators, TermIndicators
from engine.debugger.model.evidence import Evidence
from engine.debugger.model.schema import Declared, RewardTerm, groups, short
from engine.debugger.widgets.format import format_figure, format_share, join_names

FEWEST_SAMPLES = 100  # of observations and actions
FEWEST_PAIRS = 50  # consecutive samples of one episode
FEWEST_TICKS = 200  # of motors
FEWEST_WINDOWS = 3  # of joint velocity
FEWEST_EARNINGS = 100  # samples of a reward term
FAR_OUT = 100  # σ
AT_REST = "at rest"  # constant, in a command that asks some joints for nothing
COMMANDS = ("command", "reference", "target", "goal", "phase")  # in names of terms that say what is wanted


# -- observation ---------------------------------------------------------------------------------------


def suspicious(channels: ChannelIndicators, labels: Sequence[str]) -> list[tuple[int, str, str]]:
    """(channel, indicator, number in words) of every channel that looks wrong; a channel may have several."""
    found = []
    enough = channels.pairs >= FEWEST_PAIRS
    resting = _resting(channels, labels)
    for i in range(len(labels)):
        if channels.nonfinite[i] > 0:
            found.append((i, "non-finite", f"{format_share(float(channels.nonfinite[i]))} of samples"))
            if channels.nonfinite[i] == 1:
                continue
        if channels.samples >= FEWEST_SAMPLES and channels.spread[i] == 0:  # also where no episode lasts two samples
            sign = AT_REST if i in resting else "constant"
            found.append((i, sign, f"always {format_figure(float(channels.mean[i]))}"))
        elif enough and channels.changes[i] == 0:
            found.append((i, "stale", f"0 of {channels.pairs} times new within an episode"))
        if channels.at_limit[i] > 0.05:
            found.append((i, "clipped", f"{format_share(float(channels.at_limit[i]))} of samples"))
        if channels.far[i] > 0.002 and channels.peak[i] > 20:
            found.append((i, "far out", f"up to {channels.peak[i]:.0f} σ from its median"))
    return found


def _resting(channels: ChannelIndicators, labels: Sequence[str]) -> set[int]:
    """Constant channels of commands that are not constant as a whole: a clip may leave joints at rest."""
    commands = [places for term, places in groups(labels).items() if any(word in term for word in COMMANDS)]
    still = {i for places in commands for i in places if channels.spread[i] == 0}
    return still - {i for places in commands if still.issuperset(places) for i in places}


def observation(evidence: Evidence) -> list[RuleFinding]:
    """Channels of the policy's observation that are constant, stale, clipped, far out or not finite."""
    known = evidence.declared
    column = known.roles.get("observation")
    if column is None:
        return cannot_judge("observation: the run names no column of observations", "Observation")
    channels = indicators.channel_indicators(list(evidence.observations.values()), known.number("observe.limit"))
    if channels is None or channels.samples < FEWEST_SAMPLES:
        number = channels.samples if channels else 0
        return cannot_judge(f"observation: too few data ({number} of {FEWEST_SAMPLES} samples)", "Observation")
    found: list[RuleFinding] = []
    if channels.pairs < FEWEST_PAIRS:
        text = f"observation: too few data ({channels.pairs} of {FEWEST_PAIRS} samples that follow another one)"
        found += cannot_judge(text, "Observation")
    signs: dict[str, list[int]] = {}
    for channel, sign, _ in suspicious(channels, column.labels):
        signs.setdefault(sign, []).append(channel)
    for term, places in groups(column.labels).items():
        for sign, wrong in signs.items():
            of_term = [i for i in wrong if i in set(places)]
            if of_term:
                found.append(_of_term(evidence, channels, term, places, sign, of_term))
        if not set(places) & set(signs.get("stale", ())):
            found += _held(evidence, channels, term, places)
    return found


def _held(evidence: Evidence, channels: ChannelIndicators, term: str, places: list[int]) -> list[RuleFinding]:
    """A command that mostly keeps its value while the clip that it comes from plays on."""
    moving = [i for i in places if channels.spread[i] > 0]
    ending = _while_clip_moves(evidence, term)
    if not moving or not ending or channels.pairs < FEWEST_PAIRS:
        return []
    share = float(np.median(channels.changes[moving]))
    if share > 0.6:
        return []
    text = f"{term} is stale: its values changed in only {format_share(share)} of {channels.pairs} samples{ending}"
    severity: Severity = "wrong" if share < 0.4 else "attention"
    return [RuleFinding(severity, text, "Observation", 0.92, evidence.declared.roles["observation"].id, moving[0])]


def _of_term(
    evidence: Evidence, channels: ChannelIndicators, term: str, places: list[int], sign: str, wrong: list[int]
) -> RuleFinding:
    column = evidence.declared.roles["observation"]
    name = term if len(places) == 1 else column.labels[wrong[0]]
    one = f"policy channel {wrong[0]} ({name})"
    some = one if len(wrong) == 1 else f"{len(wrong)} of {len(places)} policy channels of {term}"
    whole = len(wrong) == len(places)
    wanted = any(word in term for word in COMMANDS)
    at = (column.id, wrong[0])
    if sign == "non-finite":
        text = f"{some} {_verb(wrong, 'is', 'are')} not finite in some rows"
        return RuleFinding("wrong", text, "Observation", 0.99, *at)
    if sign == "constant":
        always = f" (always {format_figure(float(channels.mean[wrong[0]]))})" if len(wrong) == 1 else ""
        text = f"{some} never {_verb(wrong, 'changes', 'change')}{always}"
        if whole and len(wrong) > 1:
            text = f"{term} never changes: all its {len(wrong)} policy channels are constant"
        if whole and wanted and channels.mean[wrong].any():  # at 0 no clip stands still
            return note(text + ": the clip stands still, or else it is stale", "Observation", 0.9, *at)
        text += _while_clip_moves(evidence, term) if whole else ""
        alarming = whole and (wanted or channels.pairs >= FEWEST_PAIRS)
        return RuleFinding("wrong" if alarming else "attention", text, "Observation", 0.91, *at)
    if sign == AT_REST:
        text = f"{some} never {_verb(wrong, 'changes', 'change')}: the clip asks nothing else there"
        return note(text, "Observation", 0.3, *at)
    if sign == "stale":
        whole = set(wrong).issuperset(i for i in places if channels.spread[i] > 0)  # the others are constant
        all_of = f"{term} is stale: {'its' if whole else some + ' keep their'}"
        text = f"{all_of} value{'s' if whole and len(places) > 1 else ''} never changed within an episode"
        if not whole:
            text = f"{term} is partly stale: {some} never {_verb(wrong, 'changes', 'change')} within an episode"
        text += f" ({channels.pairs} samples)" + _while_clip_moves(evidence, term)
        return RuleFinding("wrong" if whole else "note" if wanted else "attention", text, "Observation", 0.92, *at)
    if sign == "clipped":
        share = float(channels.at_limit[wrong].max())
        text = f"{some} {_verb(wrong, 'is', 'are')} clipped in up to {format_share(share)} of samples"
        return attention(text, "Observation", 0.5, *at)
    text = f"{some} {_verb(wrong, 'jumps', 'jump')} up to {channels.peak[wrong].max():.0f} σ from the median"
    often: Severity = "attention" if channels.peak[wrong].max() > FAR_OUT else "note"  # robots that fall see the like
    return RuleFinding(often, text, "Observation", 0.4, *at)


def _verb(wrong: list[int], one: str, many: str) -> str:
    return one if len(wrong) == 1 else many


def _while_clip_moves(evidence: Evidence, term: str) -> str:
    if not any(word in term for word in COMMANDS):
        return ""
    moved = [np.ptp(s.values[:, 2]) for s in evidence.cursors.values() if len(s.values) > 1]
    return ", while the clip plays on" if moved and float(np.nanmax([0.0, *moved])) > 0 else ""


# -- action and motors ---------------------------------------------------------------------------------


def action(evidence: Evidence) -> list[RuleFinding]:
    """Actions held at their clip, alternating, and exploration that has gone."""
    known = evidence.declared
    limit = known.number("act.limit", "clip_action.limit")
    joints = indicators.channel_indicators(list(evidence.actions.values()), limit)
    if joints is None or joints.samples < FEWEST_SAMPLES:
        text = f"action: too few data ({joints.samples if joints else 0} of {FEWEST_SAMPLES} samples)"
        return cannot_judge(text, "Action") + collapse(evidence)
    names = [short(label) for label in known.roles["action"].labels]
    found = collapse(evidence)
    clipped = [i for i in np.argsort(-joints.at_limit) if joints.at_limit[i] > 0.2]
    if clipped:
        worst = float(joints.at_limit[clipped[0]])
        text = f"the policy asks for more than its action limit on {join_names([names[i] for i in clipped])}"
        text += f": at ±{format_figure(limit or 0)} in {format_share(worst)} of ticks"
        found.append(attention(text, "Action", 0.5, known.roles["action"].id, int(clipped[0])))
    with np.errstate(invalid="ignore", divide="ignore"):
        flips = [i for i in range(len(names)) if joints.spread[i] > 0 and joints.rate[i] > 1.7 * joints.spread[i]]
    if flips and joints.pairs >= FEWEST_PAIRS:
        text = f"actions on {join_names([names[i] for i in flips])} flip from tick to tick"
        found.append(attention(text, "Action", 0.45, known.roles["action"].id, flips[0]))
    return found


def collapse(evidence: Evidence) -> list[RuleFinding]:
    """Joints on which the policy hardly explores."""
    drawn, names = evidence.exploration, [short(n) for n in evidence.declared.joints]
    if drawn is None or len(drawn) < FEWEST_SAMPLES or drawn.shape[1] != len(names):
        return []
    finite = np.isfinite(drawn)
    squares = (np.where(finite, drawn, 0.0) ** 2).sum(0) / np.maximum(finite.sum(0), 1)
    gone = [i for i in range(len(names)) if squares[i] < 0.05**2 and finite[:, i].any()]
    if not gone:
        return []
    which = f" ({join_names([names[i] for i in gone])})" if len(gone) < len(names) else ""
    text = f"exploration has collapsed on {len(gone)} of {len(names)} joints{which}: standard deviation below 0.05"
    return [attention(text, "Action", 0.66)]


def torque_use(evidence: Evidence) -> tuple[np.ndarray, list[str]] | None:
    """|torque| as a share of its limit (samples, joints), and the joints' names; None where it is not received."""
    vitals = evidence.declared.vitals
    places = [i for i, name in enumerate(vitals) if name.startswith("torque_use[")]
    names = [short(vitals[i][len("torque_use[") : -1]) for i in places]
    values = indicators.pooled(list(evidence.vitals.values()))
    if places and len(values):
        return values[:, places], names
    column = evidence.declared.roles.get("torque")
    values = indicators.pooled(list(evidence.torques.values()))
    if column is None or column.limits is None or not len(values):
        return None
    return np.abs(values) / np.abs(column.limits).max(1), [short(label) for label in column.labels]


def motors(evidence: Evidence) -> list[RuleFinding]:
    """Joints that are at their torque limit much of the time."""
    use = torque_use(evidence)
    if use is None:
        return cannot_judge("motors: torque as a share of its limit is not available", "Action")
    values, names = use
    if len(values) < FEWEST_TICKS:
        return cannot_judge(f"motors: too few data ({len(values)} of {FEWEST_TICKS} samples)", "Action")
    share = indicators.saturation(values)
    middle = float(np.nanmedian(share)) if np.isfinite(share).any() else 0.0
    if middle > 0.2:
        text = f"{int((share > 0.2).sum())} of {len(names)} joints are at their torque limit in {format_share(middle)} "
        text += "of ticks (median): check gains, action scale and torque limits"
        return [RuleFinding("wrong", text, "Action", 0.85)]
    high = [i for i in np.argsort(-np.nan_to_num(share)) if share[i] > max(0.15, middle + 0.1)]
    found, column = [], evidence.declared.roles.get("torque")
    for i in high[:3]:
        text = f"{names[i]} is at its torque limit in {format_share(float(share[i]))} of ticks"
        text += f" (median joint: {format_share(middle)})" if i == high[0] else ""
        severity: Severity = "wrong" if share[i] > 0.3 else "attention"
        place = (column.id, int(i)) if column is not None else (None, None)
        found.append(RuleFinding(severity, text, "Action", 0.75 + 0.1 * float(share[i]), *place))
    return found


def jitter(evidence: Evidence) -> list[RuleFinding]:
    """Joint velocity above 8 Hz; a joint is named only if it stands out from the robot's median."""
    dt, column = evidence.declared.dt, evidence.declared.roles.get("velocity")
    if dt is None or column is None:
        return cannot_judge("jitter: joint velocity or the control step is not available", "Action")
    if dt > 0.05:
        return cannot_judge(f"jitter: a control step of {format_figure(dt)} s shows nothing above 8 Hz", "Action")
    share, size, windows = indicators.fast_power(list(evidence.velocities.values()), dt)
    if windows < FEWEST_WINDOWS:
        return cannot_judge(f"jitter: too few data ({windows} of {FEWEST_WINDOWS} windows of 64 ticks)", "Action")
    middle, typical = _typical(share), _typical(size)
    if middle > 0.5 and typical > 1.0:
        text = f"whole body chatters: {format_share(middle)} of joint-velocity power is above 8 Hz"
        return [attention(text, "Action", 0.6)]
    stand_out = [
        i
        for i in np.argsort(-np.nan_to_num(size))
        if share[i] > max(0.4, middle + 0.25) and size[i] > max(0.5, 2 * typical)
    ]
    found = []
    for i in stand_out[:3]:
        text = f"{short(column.labels[i])} chatters: {format_share(float(share[i]))} of its velocity power is above "
        text += f"8 Hz (median joint: {format_share(middle)})"
        found.append(attention(text, "Action", 0.6, column.id, int(i)))
    return found


# -- gait ----------------------------------------------------------------------------------------------


def gait(evidence: Evidence) -> list[RuleFinding]:
    """Feet that slide while they bear load, or stay down while the reference lifts them."""
    if not evidence.declared.feet:
        return cannot_judge("gait: the run names no feet", "Why")
    ticks = sum(len(f.ticks) for f in evidence.feet)
    if ticks < FEWEST_TICKS:
        return cannot_judge(f"gait: too few data ({ticks} of {FEWEST_TICKS} ticks)", "Why")
    found: list[RuleFinding] = []
    for name in dict.fromkeys(f.name for f in evidence.feet):
        feet = [f for f in evidence.feet if f.name == name]
        down = np.concatenate([f.touching for f in feet])
        sliding = [f.speed[f.touching] for f in feet if f.speed is not None]
        speed = np.concatenate(sliding) if sliding else np.zeros(0)
        slides = float((speed > 0.3).mean()) if len(speed) >= FEWEST_TICKS / 4 else 0.0
        if slides > 0.25:
            text = f"{short(name)} slides: faster than 0.3 m/s in {format_share(slides)} of the ticks in which it bears load"
            found.append(attention(text, "Why", 0.5))
        swings = [f.touching[indicators.lifted(f.reference_height)] for f in feet if f.reference_height is not None]
        swing = np.concatenate(swings) if swings else np.zeros(0)
        if len(swing) >= FEWEST_TICKS / 4 and swing.mean() > 0.4:
            text = f"{short(name)} drags: on the ground in {format_share(float(swing.mean()))} of the reference's swing"
            found.append(attention(text, "Why", 0.55))
        if not down.any():
            found.append(attention(f"{short(name)} never touches the ground ({len(down)} ticks)", "Why", 0.45))
    return found


def _typical(values: np.ndarray) -> float:
    """The median of the finite ones; 0 without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else 0.0


# -- reward --------------------------------------------------------------------------------------------


def reward(evidence: Evidence) -> list[RuleFinding]:
    """Terms that give no signal, decide alone, or eat up what the others earn."""
    known = evidence.declared
    column = known.roles.get("reward_terms")
    if column is None:
        return cannot_judge("reward: the run names no column of reward terms", "Reward")
    signs = {i: s for i, values in evidence.terms.items() if (s := indicators.term_indicators(values)) is not None}
    fewest = min((s.samples for s in signs.values()), default=0)
    if fewest < FEWEST_EARNINGS:
        return cannot_judge(f"reward: too few data ({fewest} of {FEWEST_EARNINGS} samples)", "Reward")
    found: list[RuleFinding] = []
    for i, sign in signs.items():
        term, at = known.terms[i], (column.id, i)
        if sign.nonfinite:
            text = f"{term.name} was not finite in {sign.nonfinite} of {sign.samples + sign.nonfinite} samples"
            found.append(RuleFinding("wrong", text, "Reward", 0.97, *at))
        if sign.spread == 0 and (term.scale or 0) > 0 and term.sigma is None:
            if sign.mean == 0:
                found.append(attention(f"{term.name} earns nothing: 0 in every row", "Reward", 0.6, *at))
            else:
                text = f"{term.name} is the same in every row ({format_figure(sign.mean)} per tick): it tells nothing apart"
                found.append(note(text, "Reward", 0.2, *at))
    return found + _kernels(known, evidence, column.id) + _balance(known, signs)


def _kernels(known: Declared, evidence: Evidence, column: int) -> list[RuleFinding]:
    """Terms exp(−e² / σ²) that are too far up or down their slope; where most are, σ is hardly to blame."""
    measured = {
        i: kernel
        for i, values in evidence.terms.items()
        if (term := known.terms[i]).sigma
        and (kernel := indicators.kernel_indicators(values, term.scale or 0.0, term.sigma))
    }
    low = [i for i, kernel in measured.items() if kernel.low > 0.4]
    high = [i for i, kernel in measured.items() if kernel.high > 0.95]
    found = []
    if len(low) >= 3 and len(low) > len(measured) / 2:
        names = join_names([known.terms[i].name for i in low])
        text = (
            f"{len(low)} of {len(measured)} kernels give no signal ({names}): robots are far from where they should be"
        )
        found.append(attention(text, "Reward", 0.6, column, low[0]))
    else:
        # of a whole body that chatters, the error of velocities says more about control than about σ
        shaking = bool(low) and any(f.text.startswith("whole body chatters") for f in jitter(evidence))
        found += [_too_tight(known.terms[i], measured[i], column, i, shaking) for i in low]
    if high:
        text = f"{join_names([known.terms[i].name for i in high])} {_verb(high, 'is', 'are')} at the top: more than 95 % of rows"
        found.append(note(text + " above 0.95, hardly anything left to gain", "Reward", 0.3, column, high[0]))
    return found


def _too_tight(term: RewardTerm, kernel: KernelIndicators, column: int, label: int, shaking: bool) -> RuleFinding:
    text = f"{term.name} gives no signal: {format_share(kernel.low)} of rows below 0.05 — {term.word} is too small"
    if not term.unclear:
        error = f"the median error is {format_figure(kernel.error)}" if kernel.error else "most errors are beyond 10 σ"
        text += f", {error}"
    if shaking and "velocity" in term.name:
        text = text.replace(" is too small", " is too small for a body that chatters")
        return attention(text, "Reward", 0.5, column, label)
    severity: Severity = "wrong" if kernel.low > 0.6 else "attention"
    return RuleFinding(severity, text, "Reward", 0.5 + 0.3 * kernel.low, column, label)


def _balance(known: Declared, signs: dict[int, TermIndicators]) -> list[RuleFinding]:
    means = {i: s.mean for i, s in signs.items()}
    earned = sum(m for m in means.values() if m > 0)
    taken = -sum(m for m in means.values() if m < 0)
    whole = earned + taken
    if not whole:
        return []
    biggest = max(means, key=lambda i: abs(means[i]))
    name, share = known.terms[biggest].name, abs(means[biggest]) / whole
    if taken > earned and len(means) > 1:
        worst = min(means, key=lambda i: means[i])
        text = f"penalties take {format_figure(taken)} per tick, the rest earns {format_figure(earned)}: most of it is "
        text += f"{known.terms[worst].name} ({format_share(-means[worst] / taken)})"
        text += "; ending early may pay" if signs[worst].zero < 0.9 else ""  # not where ending is what is punished
        return [attention(text, "Reward", 0.6)]
    if share > 0.7 and len(means) > 2:
        return [note(f"{name} decides: {format_share(share)} of all that is earned or taken", "Reward", 0.3)]
    return []
