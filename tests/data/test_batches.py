"""Batches: order, epochs, lengths, and which tokens the loss counts."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.errors import InputError
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.data import Batches


class Words:
    """A tokenizer of words: ids by first letters, 0 begins a text, 1 is `<end>`."""

    eos_token = "<end>"
    chat_template = None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        words = text.replace("<end>", " <end>").split()
        ids = [1 if word == "<end>" else 10 + sum(map(ord, word)) for word in words]
        return [0, *ids] if add_special_tokens else ids


def training(**settings: object) -> TrainingSet:
    return TrainingSet.model_validate(
        {"data": "0" * 64, "loss": "completion", "batch_size": 3, "words": 4, "max_length": 32} | settings
    )


def examples(count: int) -> list[str]:
    return [json.dumps({"prompt": f"say {n}", "completion": f" w{n} now"}) for n in range(count)]


@given(count=st.integers(3, 40), size=st.integers(1, 3), seed=st.integers(0, 9), shuffle=st.booleans())
@settings(max_examples=60)
def test_an_epoch_has_every_example_once(count: int, size: int, seed: int, shuffle: bool) -> None:
    batches = Batches(Words(), training(batch_size=size, order_seed=seed, shuffle=shuffle), examples(count))
    assert batches.per_epoch == -(-count // size)
    epochs = [
        [
            s.ids
            for step in range(batches.per_epoch)
            for s in batches[epoch * batches.per_epoch + step].sequences
        ]
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert Counter(epoch) == Counter(
            tuple(Words().encode(f"say {n} w{n} now<end>")) for n in range(count)
        )
    if shuffle and count > 10:
        assert epochs[0] != epochs[1], "a new permutation for each epoch"
    if not shuffle:
        assert epochs[0] == epochs[1]


def test_the_loss_counts_the_completion_or_all_but_the_first() -> None:
    (only,) = Batches(Words(), training(batch_size=1, shuffle=False), examples(1))[0].sequences
    assert only.counted == (False, False, False, True, True, True)  # begin, say, 0 | w0, now, <end>
    (all_,) = Batches(Words(), training(batch_size=1, shuffle=False, loss="all"), examples(1))[0].sequences
    assert all_.counted == (False, True, True, True, True, True)


def test_examples_are_cut_and_those_without_a_counted_token_left_out() -> None:
    rows = [*examples(3), json.dumps({"prompt": "a b c d e f", "completion": " g"})]
    batches = Batches(Words(), training(max_length=5, batch_size=3, shuffle=False), rows)
    assert (batches.counts.used, batches.counts.cut, batches.counts.left_out) == (3, 4, 1)
    assert {len(s.ids) for s in batches[0].sequences} == {5}
    by_model = Batches(Words(), training(batch_size=3, shuffle=False), rows, limit=5)
    assert by_model.digest(3) == batches.digest(3)


def test_the_passes_of_a_step_are_its_examples() -> None:
    batch = Batches(Words(), training(batch_size=7), examples(7))[0]
    for passes in range(1, 8):
        parts = list(batch.passes(passes))
        assert len(parts) <= passes
        assert [s for part in parts for s in part.sequences] == list(batch.sequences)
        assert sum(part.counted for part in parts) == batch.counted


def test_the_digest_tells_tokens_order_and_what_counts() -> None:
    digests = {
        Batches(Words(), made, rows).digest(4)
        for made, rows in (
            (training(), examples(8)),
            (training(order_seed=1), examples(8)),
            (training(shuffle=False), examples(8)),
            (training(loss="all"), examples(8)),
            (training(batch_size=2), examples(8)),
            (training(max_length=4), examples(8)),
            (training(), examples(9)),
        )
    }
    assert len(digests) == 7
    assert Batches(Words(), training(accumulate=3, words=9), examples(8)).digest(4) in digests


class Chat(Words):
    """The same with a chat template, which can't read a role of its own."""

    chat_template = "a template"

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        if any(message["role"] == "tool" for message in messages):
            raise ValueError("unknown role: tool")
        text = " ".join(f"{message['role']}: {message['content']}" for message in messages)
        return f"{text} assistant:" if add_generation_prompt else text


def conversation(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


def test_messages_become_a_text_whose_last_message_is_the_completion() -> None:
    rows = [
        conversation(("user", "hi there"), ("assistant", "yo"), ("user", "again"), ("assistant", "ok then"))
    ]
    settings = {"batch_size": 1, "shuffle": False}
    (last,) = Batches(Chat(), training(**settings), rows)[0].sequences
    text = "user: hi there assistant: yo user: again assistant: ok then"
    assert list(last.ids) == Chat().encode(text, add_special_tokens=False)
    assert last.counted == (False,) * 8 + (True, True)
    (whole,) = Batches(Chat(), training(loss="all", **settings), rows)[0].sequences
    assert whole.counted == (False,) + (True,) * 9


def test_what_a_chat_template_refuses_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"the chat template can't read an example .unknown role: tool"):
        Batches(Chat(), training(batch_size=1), [conversation(("tool", "x"), ("assistant", "y"))])


def test_what_can_t_be_trained_on_is_refused() -> None:
    with pytest.raises(
        InputError, match="none of 3 examples has a token that the loss counts within 2 tokens"
    ):
        Batches(Words(), training(max_length=2), examples(3))
    with pytest.raises(InputError, match="batch_size is 3, and there are only 2 usable examples"):
        Batches(Words(), training(), examples(2))
    chat = [json.dumps({"messages": [{"role": "user", "content": "a"}]})] * 3
    with pytest.raises(InputError, match="has no chat template"):
        Batches(Words(), training(), chat)
