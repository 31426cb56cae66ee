"""Roles that a scene declares lead panels to its columns, whatever those are called."""

import pytest
from pytestqt.qtbot import QtBot

from engine import BuildError
from engine.debugger.model.history import history_of
from engine.debugger.model.schema import find_role
from engine.debugger.model.store import Store
from engine.debugger.panels.action import ActionPanel
from engine.debugger.panels.diagnosis import DiagnosisPanel
from engine.debugger.panels.observation import ObservationPanel
from engine.debugger.panels.reward import RewardPanel
from engine.protocol.display import View
from tests.debugger.panels import Asked, drawn
from tests.debugger.planted import Planted, schema
from tests.debugger.test_why import NAMED, UNUSUAL

PANELS = (ActionPanel, ObservationPanel, RewardPanel, DiagnosisPanel)


def unusual(named: bool) -> Store:
    """A run whose columns have unusual names."""
    store, run = Store(), Planted(ticks=100)
    store.feed(schema(run.rows, names=UNUSUAL, roles=NAMED if named else {}))
    run.feed(store, history_of(store).collect)
    assert store.bad == 0
    return store


@pytest.mark.parametrize("panel", PANELS[:3])
def test_a_panel_shows_the_column_that_the_scene_names(qtbot: QtBot, panel: type):
    for named in (True, False):
        made = panel(unusual(named), Asked())
        qtbot.addWidget(made)
        drawn(made, 760, 300)
        text = made.bars.title if panel is RewardPanel else made.head.text()
        assert ("names no column" in text) == (not named)


def test_every_panel_of_diagnosis_subscribes_to_the_columns_that_the_scene_names(qtbot: QtBot):
    store = unusual(True)
    asked = set()
    for panel in PANELS:
        made = panel(store, Asked())
        qtbot.addWidget(made)
        asked |= {column for sub in made.subscriptions() for column, _ in sub.columns}
    wanted = {"reward_terms", "reward_total", "observation", "action"}
    assert {store.by_address[NAMED[role]] for role in wanted} <= asked


def test_a_named_column_goes_before_one_with_the_usual_name_and_a_table_before_another():
    columns = ("robot.Reward.total", "robot.Earned.all", "crate.Reward.total")
    assert find_role({"roles": {"reward_total": "robot.Earned.all"}}, columns, "reward_total") == "robot.Earned.all"
    assert find_role({"roles": {"reward_total": "robot.Gone.all"}}, columns, "reward_total") == "robot.Reward.total"
    assert find_role({"roles": {"reward_total": "robot.Earned.all"}}, columns, "reward_total", "crate") == columns[2]
    assert find_role(None, columns, "clip") is None


def test_a_role_that_no_debugger_looks_for_is_refused():
    with pytest.raises(BuildError, match=r"role 'reward_sum', which no debugger looks for\. Roles are: .*Did you mean"):
        View(roles={"reward_sum": "robot.Reward.total"})
