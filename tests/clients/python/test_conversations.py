"""Chats without a name, by the OpenAI SDK: the whole transcript is sent each
turn, and the bot sees each message once."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable

import openai
import pytest
from chats import MEMORY, NAME, OTHER_KEY, TEAM_KEY, Chat, Message, said, shown
from coze import Coze
from gateway import Gateway
from wire import Wire

Maker = Callable[..., Chat]

TEN = range(1, 11)

both_forms = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_forms
@pytest.mark.parametrize("system", [None, "Be brief."], ids=["bare", "system"])
def test_a_chat_of_ten_turns_is_one_conversation(
    chat: Maker, coze: Coze, topic: str, stream: bool, system: str | None
) -> None:
    before = coze.conversations("context")
    talk = chat("context", stream=stream, system=system)
    turns = []
    for n in TEN:
        turns.append(talk.ask(f"{topic}, {n}"))
        assert turns[-1].text == shown(talk.messages[:-1]), n
    assert [turn.memory for turn in turns] == ["new"] + ["continued"] * 9
    assert len({turn.place for turn in turns}) == 1
    assert len({turn.name for turn in turns}) == 1 and (turns[0].name or "").startswith("conv_")
    assert coze.conversations("context") == [*before, turns[0].place]
    assert coze.stored(turns[0].place) == said(talk.messages)


@both_forms
def test_an_edit_goes_on_in_a_conversation_of_its_own(
    chat: Maker, coze: Coze, topic: str, stream: bool
) -> None:
    talk = chat("context", stream=stream)
    old = [talk.ask(f"{topic}, {n}") for n in TEN]
    edited = talk.branch(turns=4)
    turns = [edited.ask(f"{topic}, {n}, edited") for n in range(5, 11)]
    assert [turn.memory for turn in turns] == ["replayed; reason=edited"] + ["continued"] * 5
    assert turns[-1].text == shown(edited.messages[:-1])
    assert {turn.place for turn in turns} == {turns[0].place} != {old[0].place}
    assert turns[0].name != old[0].name
    assert coze.stored(turns[0].place) == said(edited.messages)
    # The old one is as it was, and goes on.
    assert coze.stored(old[0].place) == said(talk.messages)
    assert (talk.ask("and then?").memory, talk.ask("and?").place) == ("continued", old[0].place)


@both_forms
def test_branches_of_a_chat_go_on_side_by_side(chat: Maker, coze: Coze, topic: str, stream: bool) -> None:
    talk = chat("echo", stream=stream)
    for n in range(1, 4):
        talk.ask(f"{topic}, {n}")
    branches = [talk, talk.branch(turns=3), talk.branch(turns=3)]
    turns = [[branch.ask(f"{topic}, branch {at}")] for at, branch in enumerate(branches)]
    for n in range(4):
        for at, branch in enumerate(branches):
            turns[at].append(branch.ask(f"{topic}, {n} of {at}"))
    for at, (branch, of_branch) in enumerate(zip(branches, turns, strict=True)):
        first = "continued" if at == 0 else "replayed; reason=edited"
        assert [turn.memory for turn in of_branch] == [first] + ["continued"] * 4
        assert coze.stored(of_branch[-1].place) == said(branch.messages)
    assert len({of_branch[-1].place for of_branch in turns}) == 3


@both_forms
def test_a_regeneration_is_a_conversation_of_its_own(
    chat: Maker, coze: Coze, topic: str, stream: bool
) -> None:
    talk = chat("context", stream=stream)
    for n in range(1, 4):
        first = talk.ask(f"{topic}, {n}")
    again = talk.send(talk.messages[:-1])
    assert (again.memory, again.text) == ("replayed; reason=edited", first.text)
    assert again.place != first.place
    # This bot has only the same words again: which of the two answers the
    # client goes on from, nobody can tell.
    turns = [talk.ask(f"{topic}, {n}") for n in range(4, 7)]
    assert [turn.memory for turn in turns] == ["replayed; reason=ambiguous", "continued", "continued"]
    assert turns[-1].text == shown(talk.messages[:-1])
    assert turns[0].place not in (first.place, again.place)
    assert coze.stored(turns[0].place) == said(talk.messages)


def test_a_first_question_is_asked_again(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("echo")
    first = talk.ask(topic)
    again = talk.send(talk.messages[:1])
    assert again.memory == "new" and again.place != first.place
    turn = talk.ask("and?")
    assert turn.memory == "replayed; reason=ambiguous"
    assert coze.stored(turn.place) == said(talk.messages)


def details(thinking: str, text: str) -> str:
    """A thought and an answer as Open WebUI keeps them."""
    quoted = "\n".join(f"> {line}" for line in thinking.splitlines())
    return (
        '<details type="reasoning" done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n'
        f"{quoted}\n</details>\n{text}"
    )


RESENT: dict[str, Callable[[str, str], str]] = {
    "as it was": lambda _, text: text,
    "trimmed, with a line end": lambda _, text: text.strip() + "\n",
    "with the line ends of another system": lambda _, text: text.replace("\n", "\r\n"),
    "decomposed": lambda _, text: unicodedata.normalize("NFD", text),
    "with its thinking in tags": lambda thinking, text: f"<think>\n{thinking}\n</think>\n\n{text}",
    "with its thinking as Open WebUI keeps it": details,
}


@pytest.mark.parametrize("resent", RESENT.values(), ids=RESENT.keys())
def test_a_client_may_keep_an_answer_in_its_own_way(
    team: openai.OpenAI, coze: Coze, topic: str, resent: Callable[[str, str], str]
) -> None:
    messages: list[Message] = []
    expected = []
    memories, places = [], set()
    for n in range(1, 5):
        messages.append({"role": "user", "content": f"{topic}: a café story, {n}"})
        raw = team.chat.completions.with_raw_response.create(model="storyteller", messages=messages)  # type: ignore[arg-type]
        answer = raw.parse()
        message = answer.choices[0].message
        memories.append(raw.headers[MEMORY])
        places.add(answer.coze["conversation_id"])  # type: ignore[attr-defined]
        text = resent(message.reasoning_content, message.content or "")  # type: ignore[attr-defined]
        expected += [("user", messages[-1]["content"]), ("assistant", message.content)]
        messages.append({"role": "assistant", "content": text})
    assert memories == ["new", "continued", "continued", "continued"]
    (place,) = places
    assert coze.stored(place) == expected


def test_another_system_text_is_another_chat(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("context", system="Be brief.")
    talk.ask(topic)
    talk.messages[0]["content"] = "Be long."
    turn = talk.ask("and?")
    assert turn.memory is not None and turn.memory.startswith("replayed")
    assert turn.text == shown(talk.messages[:-1])


def test_what_the_client_says_at_once_is_one_turn(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("context")
    first = talk.ask(topic)
    talk.messages.append({"role": "user", "content": "wait, there is more"})
    turn = talk.ask("what now?")
    assert (turn.memory, turn.place) == ("continued", first.place)
    assert turn.text == shown(talk.messages[:-1])
    last = talk.ask("and?")
    assert (last.memory, last.text) == ("continued", shown(talk.messages[:-1]))
    assert coze.stored(first.place) == said(talk.messages)


@both_forms
@pytest.mark.parametrize("system", [None, "Be brief."], ids=["bare", "system"])
def test_a_question_of_the_bots_is_answered(chat: Maker, topic: str, stream: bool, system: str | None) -> None:
    talk = chat("ask", stream=stream, system=system)
    asked = talk.ask(f"{topic}: the weather?")
    assert asked.memory == "new" and "Which city" in asked.text
    answered = talk.ask("Paris")
    assert (answered.memory, answered.place) == ("resumed", asked.place)
    assert answered.text == "The weather in Paris will be sunny."
    again = talk.ask("And tomorrow?")
    assert (again.memory, again.place) == ("continued", asked.place)
    assert "Which city" in again.text
    assert talk.ask("Oslo").memory == "resumed"


def test_more_than_the_answer_to_a_question_is_no_answer(chat: Maker, topic: str) -> None:
    talk = chat("ask")
    asked = talk.ask(f"{topic}: the weather?")
    talk.messages.append({"role": "user", "content": "hm"})
    turn = talk.ask("Paris")
    assert turn.memory == "replayed; reason=question"
    assert turn.place != asked.place


def test_two_keys_with_the_same_words_share_nothing(
    chat: Maker, remembering: Gateway, wire: Wire, topic: str
) -> None:
    talk = chat("echo")
    first = talk.ask(topic)
    with openai.OpenAI(
        base_url=remembering.base_url, api_key=OTHER_KEY, http_client=wire.client()
    ) as stranger:
        theirs = Chat(stranger, "echo", messages=list(talk.messages)).ask("and?")
    assert theirs.memory == "replayed; reason=unknown" and theirs.place != first.place
    ours = talk.ask("and?")
    assert (ours.memory, ours.place) == ("continued", first.place)


def test_two_users_with_the_same_words_are_told_apart(chat: Maker, coze: Coze, topic: str) -> None:
    talks = [chat("echo", user=user) for user in ("ann", "ben")]
    for n in TEN:
        turns = [talk.ask(f"{topic}, {n}") for talk in talks]
        assert {turn.memory for turn in turns} == {"new" if n == 1 else "continued"}
        assert len({turn.place for turn in turns}) == 2
    assert coze.stored(turns[0].place) == coze.stored(turns[1].place) == said(talks[0].messages)


@pytest.mark.anyio
async def test_many_chats_at_once_never_mix(remembering: Gateway, coze: Coze, wire: Wire, topic: str) -> None:
    async with openai.AsyncOpenAI(
        base_url=remembering.base_url, api_key=TEAM_KEY, http_client=wire.async_client()
    ) as client:

        async def talk(at: int) -> None:
            messages: list[Message] = []
            places, names = set(), set()
            for n in TEN:
                messages.append({"role": "user", "content": f"{topic}, chat {at}, {n}"})
                raw = await client.chat.completions.with_raw_response.create(
                    model="echo",
                    messages=messages,  # type: ignore[arg-type]
                    stream=True,
                )
                text = ""
                async for chunk in raw.parse():
                    text += chunk.choices[0].delta.content or ""
                    if about := getattr(chunk, "coze", None):
                        places.add(about["conversation_id"])
                messages.append({"role": "assistant", "content": text})
                names.add(raw.headers[NAME])
                assert raw.headers[MEMORY] == ("new" if n == 1 else "continued")
            assert len(names) == 1
            (place,) = places
            assert coze.stored(place) == said(messages)

        await asyncio.gather(*(talk(at) for at in range(12)))


def test_one_chat_sent_twice_at_once_is_two_conversations(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("slow", stream=True)
    first = talk.ask(topic)
    create = talk.client.chat.completions.with_raw_response.create
    twin = talk.branch(turns=1)
    messages: list[Message] = [*talk.messages, {"role": "user", "content": "one"}]
    # The bot is silent for a while, the head of the answer is there before.
    raw = create(model="slow", messages=messages, stream=True)  # type: ignore[call-overload]
    assert raw.headers[MEMORY] == "continued"
    other = twin.ask("two")
    assert other.memory == "replayed; reason=edited" and other.place != first.place
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse())
    messages.append({"role": "assistant", "content": text})
    assert coze.stored(first.place) == said(messages)
    assert coze.stored(other.place) == said(twin.messages)
