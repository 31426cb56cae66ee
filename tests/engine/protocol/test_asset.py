"""The model that a run hands out: in parts that join to the whole, by a hash that the schema names, and by nothing else."""

import hashlib
import random
from pathlib import Path

import pytest

from engine.errors import EditError
from engine.protocol.display import CHUNK, Figure, ModelFile, View
from engine.protocol.schema import make_schema, schema_for_debuggers
from tests.engine.inspected import Live, toy

CONTENT = random.Random(7).randbytes(2 * CHUNK + 5)


def view_of(asset: ModelFile | None, model: str | None = None) -> View:
    where = "point.Point.position"
    return View([Figure("point", "dot", [], where, where, model=model, asset=asset)])


def test_the_parts_join_to_what_the_hash_says(folder: Path) -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return CONTENT

    view = view_of(ModelFile(make))
    assert not made
    with Live(toy(), folder, view=view) as live:
        client = live.client()
        assert client.connection.schema is not None
        digest = client.connection.schema["models"]["dot"]["hash"]
        assert digest == hashlib.sha256(CONTENT).hexdigest()
        whole, sizes = b"", []
        while len(whole) < len(CONTENT):
            answer = client.ask("asset", hash=digest, offset=len(whole))
            assert (answer["hash"], answer["offset"], answer["size"]) == (digest, len(whole), len(CONTENT))
            whole += answer["data"]
            sizes.append(len(answer["data"]))
        assert whole == CONTENT and sizes == [CHUNK, CHUNK, 5]
        assert len(made) == 1
        client.ask("pause")
        assert client.ask("asset", hash=digest, offset=2 * CHUNK)["data"] == CONTENT[-5:]


def test_other_hashes_and_offsets_are_refused_in_words(folder: Path) -> None:
    with Live(toy(), folder, view=view_of(ModelFile(lambda: b"model"))) as live:
        client = live.client()
        digest = hashlib.sha256(b"model").hexdigest()
        code, text = client.refused("asset", hash="0" * 64, offset=0)
        assert code == "unsupported" and text.startswith("This run has no model 000")
        code, text = client.refused("asset", hash=digest, offset=5)
        assert (code, text) == ("bad_message", "The file has 5 bytes; there is none at offset 5.")
        code, text = client.refused("asset", hash=digest, offset=-1)
        assert code == "bad_message" and "offset of 'asset' is -1" in text
        code, text = client.refused("asset", hash="../etc/passwd", offset=0)
        assert code == "bad_message" and "hexadecimal" in text
        assert client.ask("asset", hash=digest, offset=4)["data"] == b"l"


def test_an_observer_may_have_the_model_too(folder: Path) -> None:
    with Live(toy(), folder, view=view_of(ModelFile(lambda: b"model"))) as live:
        client = live.client(role="observe")
        assert client.ask("asset", hash=hashlib.sha256(b"model").hexdigest(), offset=0)["data"] == b"model"


def test_a_run_without_models_says_so(folder: Path) -> None:
    with Live(toy(), folder) as live:
        code, text = live.client().refused("asset", hash="0" * 64, offset=0)
    assert code == "unsupported" and "hands out no model" in text


def test_a_model_that_cannot_be_made_costs_the_picture_only(folder: Path) -> None:
    def make() -> bytes:
        raise ValueError("no such shape")

    with Live(toy(), folder, view=view_of(ModelFile(make), "/robots/dot.xml")) as live:
        client = live.client()
        assert client.connection.schema is not None
        assert client.connection.schema["models"] == {"dot": {"file": "/robots/dot.xml", "hash": ""}}
        code, text = client.refused("asset", hash="0" * 64, offset=0)
        assert code == "unsupported" and "no such shape" in text


def test_only_debuggers_are_told_where_this_machine_keeps_its_models() -> None:
    simulation, view = toy(), view_of(ModelFile(lambda: b"model"), "/robots/dot.xml")
    assert schema_for_debuggers(simulation, view)["models"]["dot"]["file"] == "/robots/dot.xml"
    assert make_schema(simulation, view) == make_schema(simulation, view_of(None))


def test_there_is_nothing_beyond_the_end() -> None:
    with pytest.raises(EditError, match="none at offset 0"):
        ModelFile(lambda: b"").part(0)
