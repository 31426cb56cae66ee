"""The diagnosis: one fault planted in an otherwise sound run must be named first, and sound runs must not alarm."""

import itertools
import math

import numpy as np
import pytest

from engine.debugger.diagnosis import indicators as signs
from engine.debugger.diagnosis import rules_robot as why_robot
from engine.debugger.diagnosis import rules_run as why_run
from engine.debugger.diagnosis.failure_alignment import FailureAlignment, align_failures
from engine.debugger.diagnosis.finding import RuleFinding
from engine.debugger.diagnosis.rules import diagnose
from engine.debugger.model.evidence import Evidence, action_subs, observation_subs, reward_subs
from engine.debugger.model.history import EvidenceHistory
from engine.debugger.model.schema import declared
from engine.debugger.model.store import Store
from engine.protocol.framing import pack_array
from tests.debugger.planted import CHANNELS, DT, JOINTS, LONGEST, SETTINGS, Planted, schema

ALARMS = ("wrong", "attention")


def gathered(run: Planted) -> Evidence:
    store, history = Store(), EvidenceHistory()
    store.feed(schema(run.rows))
    run.feed(store, history.collect)
    assert store.bad == 0
    return history.gather(store)


def findings_of(run: Planted) -> list[RuleFinding]:
    return diagnose(gathered(run))


def alarms(run: Planted) -> list[str]:
    return [f.text for f in findings_of(run) if f.severity in ALARMS]


def error_of(run: Planted, rng_seed: int = 3) -> np.ndarray:
    """Errors of about 0.25, (ticks, rows)."""
    return np.abs(0.25 + 0.03 * np.random.default_rng(rng_seed).standard_normal((run.ticks, run.rows)))


def falling(row: int, episode: int) -> int | None:
    """A quarter of episodes fall at step 100 ± 4."""
    return 96 + (row * 5 + episode) % 9 if (row + episode) % 4 == 0 else None


# -- sound runs ----------------------------------------------------------------------------------------


def test_a_sound_run_alarms_nobody():
    found = findings_of(Planted())
    assert not [f.text for f in found if f.severity in ALARMS]
    assert not [f.text for f in found if f.severity == "unknown"]
    assert any("reached their time limit" in f.text for f in found)


def test_too_little_is_said_to_be_too_little():
    found = findings_of(Planted(ticks=6, learner=[{"learn/kl": 0.01}]))
    assert not [f for f in found if f.severity in ALARMS]
    texts = [f.text for f in found if f.severity == "unknown"]
    for rule in ("ends", "observation", "action", "motors", "jitter", "reward", "gait", "learner"):
        assert any(text.startswith(f"{rule}: too few data") for text in texts), (rule, texts)


def test_nothing_at_all_is_said_to_be_nothing():
    found = diagnose(Evidence(declared(None)))
    assert found and all(f.severity == "unknown" for f in found)


# -- planted faults ------------------------------------------------------------------------------------


def test_nan_from_a_gain_names_the_column_that_came_first_and_its_writer():
    run = Planted()
    event = {"kind": "nonfinite", "tick": 412, "row": 3, "system": None, "text": ""}
    first = {"column": "robot.PdGains.stiffness", "fields": {"labels": ["left_ankle_joint"], "writers": ["fill_gains"]}}
    later = {
        "column": "robot.DofTorque.value",
        "fields": {"labels": ["left_ankle_joint"], "writers": ["compute_torque"]},
    }
    run.events = [{**event, **later}, {**event, **first}]
    run.columns["DofState.velocity"][420:, 3] = np.nan
    found = findings_of(run)[0]
    assert found.severity == "wrong" and found.panel == "World"
    assert found.text.startswith(
        "robot.PdGains.stiffness[left_ankle] is not finite in row 3 since tick 412, written by fill_gains; then "
    )
    assert "DofTorque.value" in found.text
    assert (found.column, found.label) == (2, 1)


def test_nan_that_no_event_tells_is_seen_in_what_was_received():
    run = Planted()
    run.columns["Action.value"][300:, 2, 1] = np.nan
    first = findings_of(run)[0]
    assert "robot.Action.value[left_ankle] is not finite in row 2 since tick 300, written by act" in first.text


def test_an_edit_is_named_as_what_came_before_a_nan():
    run = Planted()
    run.events = [
        {"kind": "edit", "tick": 411, "row": 3, "column": 2, "system": None, "text": "", "fields": {}},
        {"kind": "nonfinite", "tick": 412, "row": 3, "column": 2, "system": 2, "text": "", "fields": {}},
    ]
    assert "written by compute_torque, after an edit of it" in findings_of(run)[0].text


def test_an_ankle_torque_limit_too_low():
    run = Planted(fall=falling)
    chosen = np.random.default_rng(0).random((run.ticks, run.rows)) < 0.375
    run.vitals[..., 1] = np.where(chosen, 1.0, run.vitals[..., 1])
    first = findings_of(run)[0]
    assert first.text == "left_ankle is at its torque limit in 38 % of ticks (median joint: 0 %)"
    assert (first.severity, first.panel) == ("wrong", "Action")


def test_all_joints_at_their_limit_are_one_sentence():
    run = Planted()
    run.vitals[..., :4] = 1.0
    assert findings_of(run)[0].text.startswith("4 of 4 joints are at their torque limit in 100 % of ticks (median)")


def test_a_reward_sigma_too_small():
    run = Planted()
    tight = schema(16, {**SETTINGS, "body_position": {"weight": 1.0, "std": 0.1}})
    run.columns["Reward.terms"][..., 0] = DT * np.exp(-((error_of(run) / 0.1) ** 2))
    store, history = Store(), EvidenceHistory()
    store.feed(tight)
    run.feed(store, history.collect)
    first = diagnose(history.gather(store))[0]
    assert first.text.startswith("body_position gives no signal: ")
    assert "below 0.05 — σ = 0.1 is too small, the median error is 0.247" in first.text
    assert (first.severity, first.panel, first.label) == ("wrong", "Reward", 0)


def test_a_kernel_that_has_vanished_is_beyond_ten_sigma():
    run = Planted()
    run.columns["Reward.terms"][..., 0] = 0.0
    first = findings_of(run)[0]
    assert "100 % of rows below 0.05 — σ = 0.3 is too small, most errors are beyond 10 σ" in first.text


def test_kernels_that_are_mostly_low_are_one_sentence_about_the_robots():
    run, more = Planted(), schema(16, {**SETTINGS, "action_rate": {"weight": -0.1, "std": 1.0}})
    run.columns["Reward.terms"][..., :3] = 0.0
    store, history = Store(), EvidenceHistory()
    store.feed(more)
    run.feed(store, history.collect)
    texts = [f.text for f in diagnose(history.gather(store)) if f.severity in ALARMS]
    assert texts[0] == (
        "3 of 3 kernels give no signal (body_position, body_velocity and action_rate): "
        "robots are far from where they should be"
    )
    assert not any("too small" in text for text in texts)


def test_a_constant_observation_channel():
    run = Planted()
    run.columns["Observation.actor"][..., 6] = -1.0
    first = findings_of(run)[0]
    assert first.text == "policy channel 6 (gravity[2]) never changes (always −1)"
    assert (first.panel, first.label) == ("Observation", 6)


def test_a_stale_command():
    run = Planted()
    command = run.columns["Observation.actor"][..., :4]
    for row in range(run.rows):
        begins = np.flatnonzero(np.r_[True, np.diff(run.episode[:, row]) > 0])
        command[:, row] = command[begins[run.episode[:, row] - run.episode[0, row]], row]
    first = findings_of(run)[0]
    assert first.text.startswith("command is stale: its values never changed within an episode (")
    assert first.text.endswith("while the clip plays on")
    assert (first.severity, first.panel) == ("wrong", "Observation")


def test_a_sample_whose_step_came_in_another_frame_is_compared_with_none():
    run = Planted(rows=16)
    frozen = run.columns["Observation.actor"][..., :4]
    frozen[:] = run.episode[..., None]  # another value in each episode, and none within
    store, history = Store(), EvidenceHistory()
    store.feed(schema(run.rows))
    step = {info.address: info for info in store.columns.values()}["robot.Episode.step"]

    def collect(store: Store) -> None:
        """A frame of steps comes right after one of observations, now and then: that of a tick which was dropped."""
        tick, _, _ = store.value(step.id, 0)
        if tick % 15 == 0 and tick + 1 < run.ticks:
            later = np.ascontiguousarray(run.columns["Episode.step"][tick + 1])
            cols = [[step.id, *pack_array(later)]]
            rows = list(range(run.rows))
            store.feed({"t": "data", "sub": 77, "kind": "values", "ticks": [tick + 1] * 2, "cols": cols, "rows": rows})
        history.collect(store)

    run.feed(store, collect)
    assert store.bad == 0
    for row, samples in history.observations().items():
        steps, ticks = samples.steps(), samples.ticks
        pairs = [(a, b) for a, b, same in zip(ticks[:-1], ticks[1:], steps, strict=True) if same]
        assert pairs == [
            (a, b)
            for a, b in itertools.pairwise(ticks)
            if run.episode[a, row] == run.episode[b, row] and a % 15 and b % 15
        ]
    first = diagnose(history.gather(store))[0]
    assert first.text.startswith("command is stale: its values never changed within an episode (")


def test_a_command_that_is_renewed_now_and_then_only():
    run = Planted()
    command = run.columns["Observation.actor"][..., :4]
    command[:] = command[np.arange(run.ticks) // 40 * 40]
    first = findings_of(run)[0]
    assert first.text.startswith("command is stale: its values changed in only 1")
    assert first.text.endswith("while the clip plays on")


def test_a_command_whose_joints_partly_rest_is_a_note_only():
    run = Planted()
    run.columns["Observation.actor"][..., 2] = 0.1
    found = next(f for f in findings_of(run) if "command" in f.text)
    assert found.severity == "note"
    assert not alarms(run)


def test_a_dead_term():
    run = Planted()
    loose = schema(16, {**SETTINGS, "body_velocity": {"weight": 1.0}})
    run.columns["Reward.terms"][..., 1] = 0.0
    store, history = Store(), EvidenceHistory()
    store.feed(loose)
    run.feed(store, history.collect)
    assert diagnose(history.gather(store))[0].text == "body_velocity earns nothing: 0 in every row"


def test_penalties_that_outweigh_everything():
    run = Planted()
    run.columns["Reward.terms"][..., 3] = -0.2
    assert alarms(run)[0].startswith("penalties take 0.201 per tick")
    assert "joint_limits (100 %); ending early may pay" in alarms(run)[0]


def test_exploration_that_has_collapsed_on_some_joints():
    run = Planted()
    run.columns["Rollout.action"][..., 1:3] = run.columns["Rollout.mean"][..., 1:3] + 0.001
    assert findings_of(run)[0].text.startswith("exploration has collapsed on 2 of 4 joints (left_ankle and right_knee)")


def test_actions_held_at_their_clip():
    run = Planted()
    run.columns["Action.value"][::2, :, 3] = 5.0
    assert "on right_ankle: at ±5 in 50 % of ticks" in " ".join(alarms(run))


def test_one_joint_that_chatters():
    run = Planted()
    wave = 5 * np.sin(2 * np.pi * 15 * np.arange(run.ticks) * DT)
    run.columns["DofState.velocity"][..., 2] += wave[:, None]
    first = findings_of(run)[0]
    assert first.text.startswith("right_knee chatters: ") and "(median joint: 0.1 %)" in first.text


def test_a_whole_body_that_chatters():
    run = Planted()
    wave = 9 * np.sin(2 * np.pi * 15 * np.arange(run.ticks) * DT)
    run.columns["DofState.velocity"] += wave[:, None, None]
    assert findings_of(run)[0].text.startswith("whole body chatters: ")


def test_a_foot_that_drags_and_slides():
    run = Planted()
    run.columns["Contact.touching"][..., 1] = True
    texts = alarms(run)
    assert texts[0].startswith("right_foot drags: on the ground in 100 % of the reference's swing")
    assert any(text.startswith("right_foot slides: ") for text in texts)


def test_a_reference_that_stands_on_terrain_is_lifted_above_where_its_clip_has_the_ground():
    """Episodes on platforms of 0 … 0.6 m: the lower foot of a high one is no higher above its ground."""
    run = Planted()
    platform = 0.2 * (run.episode % 4)
    run.columns["TerrainTile.origin"][..., 2] = platform
    run.columns["MotionReference.body_position"][..., 2] += platform[..., None]
    assert not [text for text in alarms(run) if "drags" in text]


def test_failures_at_one_place_of_the_clip():
    def fall(row: int, episode: int) -> int | None:
        return 96 + (row * 5 + episode) % 9 if (row + episode) % 4 else None

    texts = alarms(Planted(fall=fall))
    assert texts[0] == "96 % of failures happen at 1.9–2.1 s of walk_07: fallen"
    assert any("episodes end by fallen, half of them within 100 steps" in text for text in texts)


def test_episodes_that_end_at_once():
    texts = alarms(Planted(fall=lambda row, episode: 3))
    assert any("within 3 steps of their start: look at the pose after a reset" in text for text in texts)


def test_the_autopsy_names_what_departed_first():
    run = Planted(fall=falling)
    run.vitals[..., 1] = np.where(run.steps_left <= 40, 1.0, np.minimum(run.vitals[..., 1], 0.8))
    evidence = gathered(run)
    found = align_failures(evidence, "fallen")
    assert isinstance(found, FailureAlignment)
    ankle, tilt = (found.names.index(name) for name in ("torque_use[left_ankle_joint]", "tilt"))
    assert found.departure[ankle] == pytest.approx(40, abs=2)
    assert 8 <= found.departure[tilt] <= 20
    assert np.isnan(found.departure[found.names.index("torque_use[left_knee_joint]")])
    text = why_run.autopsy_words(found, DT)
    assert "first to depart: left_ankle torque at its limit, 0." in text
    assert "later" in text and "before the end" in text


def test_the_autopsy_says_what_it_lacks():
    assert "no autopsy yet: 0 of 5 failures by fallen" in str(align_failures(gathered(Planted()), "fallen"))
    assert "no black box" in str(align_failures(Evidence(declared(schema(4))), "fallen"))


LEARNER = {
    "explained": (
        {"learn/explained_variance": 0.02, "learn/value_loss": 1.0},
        "value function explains nothing (0.02): check return scale",
    ),
    "kl": ({"learn/kl": 0.08, "learn/learning_rate": 1e-5}, "KL 0.08 is 8.0 times its target of 0.01, though the"),
    "slow": ({"learn/kl": 0.001, "learn/learning_rate": 1e-2}, "the policy hardly changes: KL 0.001 with the learning"),
    "clip": ({"learn/clip_fraction": 0.6}, "60 % of samples leave the clip range"),
    "std": ({"learn/action_std": 0.01}, "exploration has collapsed: the standard deviation of actions is 0.01"),
    "norm": ({"learn/gradient_norm": 5000.0}, "the gradient norm is 5e+03"),
    "skipped": ({"learn/skipped_steps": 4.0}, "4 optimiser steps were left out"),
}


@pytest.mark.parametrize(("changed", "sentence"), LEARNER.values(), ids=LEARNER.keys())
def test_the_learner(changed: dict[str, float], sentence: str):
    run = Planted()
    run.learner = [{**values, **changed} for values in run.learner]
    if "learn/skipped_steps" in changed:
        run.learner[0]["learn/skipped_steps"] = 0.0
        run.learner[-4]["learn/skipped_steps"] = 1.0
        run.learner[-6]["learn/skipped_steps"] = 1.0
    assert sentence in findings_of(run)[0].text


def test_exploration_that_grows():
    run = Planted()
    run.learner = [{**v, "learn/action_std": 0.5 + 0.1 * i} for i, v in enumerate(run.learner)]
    assert findings_of(run)[0].text.startswith(
        "exploration grows: the standard deviation of actions went from 0.5 to 2.2"
    )


def test_warnings_and_failed_simulations():
    run = Planted()
    run.events = [
        {"kind": "warning", "tick": i, "row": None, "column": None, "system": None, "text": text, "fields": {}}
        for i, text in enumerate(["contact buffer overflowed in 3 rows"] * 2)
    ]
    assert findings_of(run)[0].text == "contact buffer overflowed in 3 rows (2 times)"
    run.events = [
        {"kind": "reset", "tick": i, "row": None, "text": "", "fields": {"reasons": {"diverged": 1}, "rows": 1}}
        for i in range(30)
    ]
    assert "the simulation of 100 % of episodes failed (diverged)" in findings_of(run)[0].text


def test_shapes_that_sink_into_each_other():
    run = Planted()
    for values in run.learner[-5:]:
        values["physics/penetration"] = 0.034
    (found,) = why_run.physics(gathered(run))
    assert found.text.startswith(
        "shapes that touch sink 3.4 cm into each other in one of a hundred rows: make the time"
    )
    assert found.severity == "attention"


def test_buffers_that_overflow_and_those_that_nobody_counts():
    run = Planted()
    run.learner[-1] = {**run.learner[-1], "physics/contact_overflows": 3.0, "physics/constraint_overflows": 1.0}
    first, second, *_ = findings_of(run)
    assert first.text.startswith(
        "contact buffer overflowed in 3 rows: what did not fit is not simulated; give the model"
    )
    assert second.text.startswith("constraint buffer overflowed in 1 row: ")
    run = Planted()
    run.learner = [{k: v for k, v in values.items() if not k.startswith("physics/")} for values in run.learner]
    found = why_run.physics(gathered(run))
    assert [(f.severity, f.text) for f in found] == [
        ("unknown", "physics: this simulator does not tell whether its contact and constraint buffers suffice"),
        ("unknown", "physics: this simulator does not tell how deep shapes overlap"),
    ]
    assert why_run.physics(gathered(Planted())) == []


def test_time_names_the_slowest_system_and_what_has_slowed_down():
    found = [f.text for f in why_run.time(gathered(Planted()))]
    assert found == ["step_physics takes 40 % of the tick"]
    evidence = gathered(Planted())
    parts = np.full(8, 1e-3)
    evidence.first_pace = 0.008, parts
    evidence.pace = 0.028, parts + 0.02 * np.eye(8)[3]
    slower = why_run.time(evidence)[1]
    assert slower.severity == "attention"
    assert slower.text == (
        "a tick takes 28.0 ms, 3.5 times what it took when watching began: 100 % of the rest is step_physics"
    )


def test_ticks_that_are_slower_in_all_their_parts_are_the_machines_affair():
    evidence = gathered(Planted())
    evidence.first_pace, evidence.pace = (0.008, np.full(8, 1e-3)), (0.024, np.full(8, 3e-3))
    slower = why_run.time(evidence)[1]
    assert (slower.severity, slower.text[-46:]) == ("note", "began, and all systems do: the machine is busy")


def test_a_value_function_with_nothing_to_explain_alarms_nobody():
    run = Planted()
    run.learner = [{**v, "learn/explained_variance": -0.4, "learn/value_loss": 0.002} for v in run.learner]
    found = [f for f in findings_of(run) if "value function" in f.text]
    # sqrt(0.002 / 1.4) = 0.038 of 0.032 per step × 100 steps
    assert [(f.severity, f.text) for f in found] == [
        ("note", "value function explains nothing (−0.4): returns hardly vary (by 1 %), there is little to explain")
    ]


# -- how episodes end ----------------------------------------------------------------------------------


def test_the_table_counts_what_events_say():
    run = Planted()
    fields = [{"reasons": {"fallen": 3, "time_limit": 1}, "rows": 4}] * 10 + [
        {"reasons": {"time_limit": 4}, "rows": 4}
    ] * 10
    run.events = [{"kind": "reset", "tick": i, "row": None, "text": "", "fields": f} for i, f in enumerate(fields)]
    table = {reason: (share, change) for reason, share, _, change in why_run.end_table(gathered(run))}
    assert table["fallen"] == (30 / 80, -0.75)
    assert table["time_limit"] == (50 / 80, 0.75)


def test_events_may_tell_every_end():
    run = Planted()
    fields = {
        "row": pack_array(np.arange(4)),
        "reason": pack_array(np.array([0, 0, 2, 0])),
        "step": pack_array(np.array([10, 20, 150, 30])),
        "clip": pack_array(np.zeros(4, np.int64)),
        "time": pack_array(np.array([0.2, 0.4, 3.0, 0.6])),
        "reasons": {"fallen": 3, "time_limit": 1},
        "rows": 4,
    }
    run.events = [{"kind": "reset", "tick": 7, "row": None, "text": "", "fields": fields}]
    evidence = gathered(run)
    ends = [(e.row, e.reasons, e.step) for e in evidence.ends if e.tick == 7]
    assert ends[:2] == [(0, ("fallen",), 10.0), (1, ("fallen",), 20.0)]
    assert why_run.end_table(evidence)[0][:3] == ("fallen", 0.75, 20.0)


def test_broken_fields_of_an_event_count_as_not_said():
    run = Planted()
    bad = [{"reasons": 3}, {"row": 1, "reason": 2, "step": 3}, {"reasons": ["a", "b"], "rows": 5}, {}]
    run.events = [{"kind": "reset", "tick": 1, "row": None, "text": "", "fields": f} for f in bad]
    evidence = gathered(run)
    assert {reason for _, by in evidence.end_counts for reason in by} == {"time_limit"}


def test_watched_rows_tell_ends_once_and_how_long_episodes_were():
    run = Planted()
    evidence = gathered(run)
    assert len(evidence.ends) == int(run.columns["Done.ended"].sum())
    assert {end.step for end in evidence.ends} == {float(LONGEST)}
    assert [end.time for end in evidence.ends] == pytest.approx([LONGEST * DT] * len(evidence.ends))


# -- numbers -------------------------------------------------------------------------------------------


def test_channels_by_an_independent_loop():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((50, 3))
    values[:, 1] = 2.0
    values[10:20, 2] = np.nan
    breaks = np.zeros(50, bool)
    breaks[25] = True
    found = signs.channel_indicators([signs.RowSamples(np.arange(50), values, breaks)], limit=1.0)
    assert found is not None and found.pairs == 48
    assert found.mean[0] == pytest.approx(np.mean(values[:, 0]))
    assert (found.spread[1], found.changes[1]) == (0.0, 0.0)
    changes = [values[i, 0] - values[i - 1, 0] for i in range(1, 50) if i != 25]
    assert found.rate[0] == pytest.approx(math.sqrt(sum(change**2 for change in changes) / 48))
    assert found.nonfinite[2] == pytest.approx(0.2)
    assert found.spread[2] == pytest.approx(np.nanstd(values[:, 2]))
    assert found.at_limit[0] == pytest.approx(np.mean(np.abs(values[:, 0]) >= 1.0))
    quantiles = signs.nan_quantiles(values, (0.05, 0.5, 0.95))
    assert quantiles == pytest.approx(np.nanquantile(values, (0.05, 0.5, 0.95), axis=0))


def test_power_above_eight_hertz_of_a_pure_tone():
    ticks = np.arange(640)
    tones = np.stack([np.sin(2 * np.pi * f * ticks * DT) for f in (2.0, 15.0)], 1)
    share, size, windows = signs.fast_power([signs.RowSamples(ticks, tones, np.zeros(640, bool))], DT)
    assert windows == 19
    assert share[0] < 0.01 and share[1] > 0.99
    assert size[1] == pytest.approx(np.sqrt(0.5), rel=0.02)


def test_a_kernel_tells_error_and_slope():
    sigma, error = 0.3, 0.21
    kernel = signs.kernel_indicators(np.full(9, 0.02 * np.exp(-((error / sigma) ** 2))), 0.02, sigma)
    assert kernel is not None and kernel.error == pytest.approx(error)
    assert signs.kernel_slope(np.exp([-0.5])) == pytest.approx(1.0)
    assert signs.kernel_slope(np.array([1.0, 0.0])) == pytest.approx([0.0, 0.0], abs=1e-4)


def test_the_densest_interval():
    assert signs.densest(np.array([0.0, 5.0, 5.1, 5.2, 9.0]), 0.6) == (5.0, 5.2)


def test_a_schema_without_anything_is_read_as_such():
    known = declared({"tables": [{"name": "t", "rows": 3}], "systems": [{"name": "s"}]})
    assert known.terms == () and known.dt is None and known.roles == {}
    known = declared(schema(4))
    assert known.time_limits == {"time_limit"}
    assert known.terms[0].scale == pytest.approx(DT) and known.terms[0].sigma == 0.3
    assert known.roles["ended"].address == "robot.Done.ended"
    assert known.joints == JOINTS and known.roles["observation"].labels == CHANNELS


UNUSUAL = {"Reward": "Earned", "Observation": "Sight", "Action": "Wish", "DofTorque": "Effort", "Done": "Over"}
NAMED = {
    "reward_terms": "robot.Earned.terms",
    "reward_total": "robot.Earned.total",
    "observation": "robot.Sight.actor",
    "action": "robot.Wish.value",
    "torque": "robot.Effort.value",
    "ended": "robot.Over.ended",
    "reason": "robot.Over.reason",
}


def test_columns_with_unusual_names_are_found_by_the_roles_that_the_scene_declares():
    run, store, history = Planted(ticks=100), Store(), EvidenceHistory()
    store.feed(schema(run.rows, names=UNUSUAL, roles=NAMED))
    run.feed(store, history.collect)
    evidence = history.gather(store)
    found = {role: column.address for role, column in evidence.declared.roles.items() if role in NAMED}
    assert found == NAMED
    assert {role: store.role(role).address for role in NAMED} == NAMED
    assert [term.name for term in evidence.declared.terms] == list(SETTINGS) and len(evidence.terms) == len(SETTINGS)
    assert evidence.observations and evidence.actions and evidence.ends
    for subscriptions in (reward_subs, observation_subs, action_subs):
        assert subscriptions(evidence.declared)


def test_without_declared_roles_columns_with_unusual_names_play_none():
    known = declared(schema(4, names=UNUSUAL))
    assert not set(NAMED) & set(known.roles) and "episode_step" in known.roles


def test_a_rule_that_fails_says_so_and_the_others_go_on():
    def broken(evidence: Evidence) -> list[RuleFinding]:
        raise ValueError("no such thing")

    found = diagnose(gathered(Planted()), (broken, why_run.time))
    assert [f.severity for f in found] == ["note", "unknown"]
    assert "broken: the rule failed on these data (ValueError: no such thing)" in found[1].text


@pytest.mark.parametrize("rows", [1, 3])
def test_few_rows_are_enough(rows: int):
    assert not alarms(Planted(rows=rows))


def test_all_nan_is_named_and_breaks_no_rule():
    run = Planted(ticks=200)
    for name in ("Observation.actor", "Action.value", "DofState.velocity", "Reward.terms", "Rollout.action"):
        run.columns[name][:] = np.nan
    run.vitals[:] = np.nan
    found = findings_of(run)
    assert "is not finite" in found[0].text
    assert not [f.text for f in found if "the rule failed" in f.text]
    assert why_robot.observation(gathered(run))


# -- edits ---------------------------------------------------------------------------------------------


def edited(tick: int, new: str) -> dict[str, object]:
    fields = {"address": "tracking.reward.body_position.std", "old": "0.3", "new": new, "reason": ""}
    return {"t": "event", "kind": "edit", "tick": tick, "text": "somebody: set", "fields": fields}


def test_an_edited_constant_counts_from_its_tick_and_an_edit_at_an_earlier_one_undoes_it():
    run, store, history = Planted(ticks=100), Store(), EvidenceHistory()
    store.feed(schema(run.rows))
    run.feed(store, history.collect)
    assert len(history.terms()[0]) == 2 * run.rows  # a frame every 50 ticks
    store.feed(edited(60, "0.01"))
    store.feed(edited(70, "0.02"))
    history.collect(store)
    assert history.declared.terms[0].sigma == 0.02
    assert not history.terms()  # what was earned before, σ being 0.3, says nothing about 0.02
    branch = {"t": "event", "kind": "edit", "tick": 65, "text": "somebody: branch tick 65", "fields": {}}
    store.feed(branch)
    history.collect(store)
    assert history.declared.terms[0].sigma == 0.01
    store.feed({**branch, "tick": 10})
    history.collect(store)
    assert history.declared.terms[0].sigma == 0.3


def test_an_event_of_the_hub_which_knows_no_tick_is_no_bad_frame():
    store = Store()
    store.feed({"t": "event", "kind": "control", "tick": None, "row": None, "text": "ann holds control", "fields": {}})
    assert store.bad == 0
    assert store.events[-1]["tick"] == -1
