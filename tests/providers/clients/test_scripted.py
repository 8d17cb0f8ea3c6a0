from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import jsonschema_rs
import pytest
from django.core.management import CommandError, call_command, load_command_class

from providers.clients import plausible
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.scenario import Phase, load_scenario, shipped_scenarios
from providers.clients.scripted import Act, Scenario, Script, ScriptedClient, Step
from providers.clients.scripted_server import Bill, ScriptedServer
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import ChatMessage, Timeouts, WireChat
from tests.providers.support import SCHEMA, deployment

ROOT = Path(__file__).resolve().parents[3]
GROUPS = "\n".join(
    f"[{i}] {name}: people wanted this"
    for i, name in enumerate(
        [
            "Book a flight",
            "Book a hotel",
            "Cancel a flight",
            "Reset a password",
            "Change a password",
        ]
    )
)


def ask(content: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "rules"}, {"role": "user", "content": content}]


def talk(*turns: str) -> list[dict[str, str]]:
    return ask("<conversation>\n" + "\n".join(turns) + "\n</conversation>")


def array(entry: dict, **bounds: int) -> dict:
    listed = {"type": "array", "items": {"type": "object", "properties": entry}, **bounds}
    return {"type": "object", "properties": {"out": listed}, "required": ["out"]}


def test_draws_depend_on_the_request_not_on_the_order() -> None:
    mix = (Step(), Step(act=Act.SERVER_ERROR), Step(act=Act.DROPPED))
    bodies = [{"messages": talk(f"user: {i}")} for i in range(30)]
    first, second = Script(Scenario(mix=mix)), Script(Scenario(mix=mix))
    forwards = [first.next_step(body).act for body in bodies]
    backwards = [second.next_step(body).act for body in reversed(bodies)]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 3
    other = Script(Scenario(mix=mix, seed=8))
    assert [other.next_step(body).act for body in bodies] != forwards
    assert [first.next_step(body).act for body in bodies] != forwards


def test_a_scenario_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"latency": 0.1, "mix": [{"act": "slow", "seconds": 2, "weight": 0.5}]}')
    assert load_scenario(path).mix[0].act is Act.SLOW
    path.write_text('{"mix": [{"act": "explode"}]}')
    with pytest.raises(ValueError, match=r"s.json: mix.0.act"):
        load_scenario(path)


def test_answers_satisfy_their_schema_and_come_from_the_text() -> None:
    text = json.dumps(plausible.answer(talk("customer: Refund my broken kettle."), SCHEMA))
    data = json.loads(text)
    jsonschema_rs.validate(SCHEMA, data)
    assert data["request"] == "Refund my broken kettle."
    assert data["sentiment"] == "negative"
    again = plausible.answer(talk("customer: Refund my broken kettle."), SCHEMA)
    assert json.dumps(again) == text


def test_reads_a_transcript_of_numbered_turns() -> None:
    turns = "1. agent:\n| Hello.\n2. customer:\n| Where is\n| my parcel?\n3. agent:\n| Soon."
    prompt = plausible.Prompt.of(ask(f"<talk-0a1b2c>\n{turns}\n</talk-0a1b2c>\n\nAnswer now."))
    assert prompt.asked == "Where is my parcel?"


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "minLength": 40, "maxLength": 45},
        {"type": ["string", "null"], "maxLength": 3},
        {"type": "number", "minimum": 7, "maximum": 8},
        {"type": "boolean"},
        {"enum": ["a", "b"]},
        {"const": 4},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3},
        {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}, "minItems": 1},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    ],
)
def test_any_field_is_filled(field: dict) -> None:
    schema = {"type": "object", "properties": {"it": field}, "required": ["it"]}
    for said in ("user: hello there", "", "user: ¿dónde está mi pedido? 😀"):
        jsonschema_rs.validate(schema, plausible.answer(ask(said), schema))


def test_every_numbered_entry_is_placed() -> None:
    parents = ["Travel bookings", "Password help"]
    schema = array(
        {
            "child": {"type": "integer", "enum": [0, 1, 2, 3, 4]},
            "parent": {"type": "string", "enum": parents},
        }
    )
    out = plausible.answer(ask(f"<groups>\n{GROUPS}\n</groups>"), schema)["out"]
    assert [one["child"] for one in out] == [0, 1, 2, 3, 4]
    assert {out[3]["parent"], out[4]["parent"]} == {"Password help"}


def test_entries_are_grouped_without_loss() -> None:
    entry = {
        "name": {"type": "string"},
        "groups": {"type": "array", "items": {"type": "integer", "enum": [0, 1, 2, 3, 4]}},
    }
    out = plausible.answer(ask(f"<groups>\n{GROUPS}\n</groups>"), array(entry, minItems=2))["out"]
    assert sorted(key for one in out for key in one["groups"]) == [0, 1, 2, 3, 4]
    assert any({3, 4} <= set(one["groups"]) for one in out)


async def test_in_process_and_over_http_answer_alike() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "providers.clients.scripted_server",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
    client = OpenAICompatibleClient()
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100, schema=SCHEMA)
    try:
        over_http = await client.chat(deployment(kind="openai", base_url=url), wire)
        in_process = await ScriptedClient().chat(deployment(), wire)
        assert over_http == in_process
    finally:
        await client.aclose()
        process.terminate()
        await process.wait()


async def test_the_bill_has_a_line_for_every_request_begun_even_if_nobody_waits(
    tmp_path: Path,
) -> None:
    bill = tmp_path / "bill"
    server = ScriptedServer(Scenario(latency=0.5), Bill(bill))
    url = await server.start()
    client = OpenAICompatibleClient()
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100, schema=SCHEMA)
    try:
        target = deployment(kind="openai", base_url=url, timeouts=Timeouts())
        answer = await client.chat(target, wire)
        with pytest.raises((TimeoutError, Fault)):
            async with asyncio.timeout(0.3):
                await client.chat(target, wire)
    finally:
        await client.aclose()
        await server.stop()
    first, cut_off = (json.loads(line) for line in bill.read_text().splitlines())
    assert (first["tokens_in"], first["tokens_out"]) == (answer.tokens_in, answer.tokens_out)
    assert first["model"] == target.model
    assert first["sha256"] == cut_off["sha256"]
    assert first["time"] < cut_off["time"]


async def test_what_is_refused_is_not_billed(tmp_path: Path) -> None:
    bill = tmp_path / "bill"
    server = ScriptedServer(Scenario(mix=(Step(act=Act.RATE_LIMIT),)), Bill(bill))
    url = await server.start()
    client = OpenAICompatibleClient()
    try:
        with pytest.raises(Fault):
            await client.chat(
                deployment(kind="openai", base_url=url), WireChat((ChatMessage("user", "a"),), 9)
            )
    finally:
        await client.aclose()
        await server.stop()
    assert bill.read_text() == ""


def draws(one: Scenario, count: int) -> list[Step]:
    script = Script(one)
    return [script.next_step({"messages": talk(f"user: {i}")}) for i in range(count)]


def test_phases_follow_the_opening_and_then_the_mix_stays() -> None:
    one = Scenario(
        opening=(Step(act=Act.EMPTY),),
        phases=(
            Phase(requests=2, mix=(Step(act=Act.REFUSED),)),
            Phase(requests=1, mix=(Step(act=Act.HANG),)),
        ),
    )
    assert [step.act.value for step in draws(one, 6)] == [
        "empty",
        "refused",
        "refused",
        "hang",
        "success",
        "success",
    ]


def test_a_slow_tail_is_mostly_short_and_sometimes_very_long() -> None:
    waits = sorted(
        step.seconds for step in draws(Scenario(mix=(Step(act=Act.SLOW_TAIL, seconds=2),)), 500)
    )
    assert 2 <= waits[0] < 2.1
    assert waits[250] < 4
    assert 20 < waits[-1] <= 120


def test_every_scenario_that_ships_is_sound() -> None:
    assert shipped_scenarios() == ["bad_day", "calm", "outage"]
    for name in shipped_scenarios():
        one = load_scenario(name)
        assert Act.SUCCESS in {step.act for step in one.mix}
    acts = [step.act for step in draws(load_scenario("bad_day"), 2000)]
    assert 0.15 < acts.count(Act.RATE_LIMIT) / 2000 < 0.25
    out = [step.act for step in draws(load_scenario("outage"), 110)]
    assert set(out[:60]) | set(out[100:]) == {Act.SUCCESS}
    assert Act.SUCCESS not in out[60:100]
    with pytest.raises(OSError, match="no_such"):
        load_scenario("no_such")


def test_keeps_a_limit_of_requests_and_of_tokens() -> None:
    now = [0.0]
    script = Script(Scenario(requests_per_minute=2, tokens_per_minute=60), clock=lambda: now[0])
    body = {"messages": talk("user: hi")}
    steps = [script.next_step(body) for _ in range(3)]
    assert [step.act for step in steps[:2]] == [Act.SUCCESS] * 2
    assert steps[2].act is Act.RATE_LIMIT
    assert steps[2].retry_after == pytest.approx(30)
    status, headers, _ = script.refusal(steps[2], body) or (0, {}, None)
    assert status == 429
    assert headers["Retry-After"] == "30"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-limit-tokens"] == "60"
    assert headers["x-ratelimit-reset-requests"] == "60.000s"
    now[0] = 29.0
    assert script.next_step(body).act is Act.RATE_LIMIT
    now[0] = 30.1
    assert script.next_step(body).act is Act.SUCCESS
    now[0] = 1000.0
    assert script.next_step({"messages": talk("user: " + "long " * 500)}).act is Act.SUCCESS
    assert script.next_step(body).act is Act.RATE_LIMIT


async def test_streams_in_the_process_as_it_answers() -> None:
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100, schema=SCHEMA)
    whole = await ScriptedClient().chat(deployment(), wire)
    pieces = [piece async for piece in ScriptedClient().stream(deployment(), wire)]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert len(pieces) > 5
    assert pieces[-1].end is not None
    assert pieces[-1].end.tokens_out == whole.tokens_out
    cut = ScriptedClient(Scenario(mix=(Step(act=Act.DROP_MIDWAY, tokens=3),)))
    stream = cut.stream(deployment(), wire)
    came = [(await anext(stream)).text for _ in range(3)]
    with pytest.raises(Fault, match="broke off"):
        await anext(stream)
    assert whole.text.startswith("".join(came))


async def test_a_tool_that_cannot_be_called_is_a_fault() -> None:
    client = ScriptedClient(Scenario(mix=(Step(act=Act.TOOL_ERROR),)))
    with pytest.raises(Fault) as caught:
        await client.chat(deployment(), WireChat((ChatMessage("user", "a"),), 9))
    assert caught.value.status == 400


async def test_streams_over_http_as_in_the_process() -> None:
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100, schema=SCHEMA)
    server = ScriptedServer(Scenario(requests_per_minute=100))
    client = OpenAICompatibleClient()
    try:
        target = deployment(kind="openai", base_url=await server.start(), timeouts=Timeouts())
        over_http = [piece async for piece in client.stream(target, wire)]
        assert [one.id for one in await client.models(target)] == ["scripted-1", "scripted-embed"]
        assert await client.takes_tools(target, WireChat(wire.messages, 50))
    finally:
        await client.aclose()
        await server.stop()
    in_process = [piece async for piece in ScriptedClient().stream(deployment(), wire)]
    assert [piece.text for piece in over_http] == [piece.text for piece in in_process]
    end, same = over_http[-1].end, in_process[-1].end
    assert end is not None
    assert same is not None
    assert (end.tokens_in, end.tokens_out) == (same.tokens_in, same.tokens_out)
    assert end.quota is not None
    assert end.quota.requests_limit == 100


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_connection_dropped_in_the_middle_over_http(streamed: bool) -> None:
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100, schema=SCHEMA)
    server = ScriptedServer(Scenario(mix=(Step(act=Act.DROP_MIDWAY, tokens=3),)))
    client = OpenAICompatibleClient()
    came = ""
    try:
        target = deployment(kind="openai", base_url=await server.start(), timeouts=Timeouts())
        if streamed:
            stream = client.stream(target, wire)
            came = "".join([(await anext(stream)).text for _ in range(3)])
            with pytest.raises(Fault) as caught:
                await anext(stream)
        else:
            with pytest.raises(Fault) as caught:
                await client.chat(target, wire)
    finally:
        await client.aclose()
        await server.stop()
    assert caught.value.error_class is ErrorClass.NETWORK
    assert caught.value.sent
    assert bool(came) == streamed


async def test_over_http_a_limit_is_kept_for_all_callers_together() -> None:
    server = ScriptedServer(Scenario(requests_per_minute=3))
    client = OpenAICompatibleClient()
    wire = WireChat((ChatMessage("user", "user: where is my parcel?"),), 100)
    try:
        target = deployment(kind="openai", base_url=await server.start(), timeouts=Timeouts())
        calls = [client.chat(target, wire) for _ in range(6)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await client.aclose()
        await server.stop()
    faults = [one for one in ended if isinstance(one, Fault)]
    assert len(faults) == 3
    assert {one.error_class for one in faults} == {ErrorClass.RATE_LIMIT}
    assert all(0 < (one.retry_after or 0) <= 20 for one in faults)


def test_the_command_names_the_scenarios_and_checks_its_options() -> None:
    command = load_command_class("providers", "scripted_provider")
    told = command.create_parser("manage.py", "scripted_provider").format_help()
    assert all(name in told for name in shipped_scenarios())
    for wrong in (["--scenario", "no_such"], ["--requests-per-minute", "-1"]):
        with pytest.raises(CommandError):
            call_command(command, *wrong)
