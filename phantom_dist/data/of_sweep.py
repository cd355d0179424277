"""A sweep whose training data have been read: what they are, how many steps its epochs have, and what to tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from phantom_dist.core.errors import InputError
from phantom_dist.data.reading import TrainingData, data_of_contexts, read_data
from phantom_dist.spec import CONTEXTS, DataContent, SweepSpec, from_yaml, to_yaml


@dataclass(frozen=True, slots=True)
class ReadSweep:
    """A sweep ready to be expanded. `data`: what it trains on; None without a training set, or if a run directory
    holds them already."""

    spec: SweepSpec
    data: TrainingData | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the data; one sentence each."""
        return () if self.data is None else tuple(_notes(self.spec, self.data))


def with_data(spec: SweepSpec) -> ReadSweep:
    """Read the training data of a sweep, unless it has none, or is a stored one.

    Raises:
        InputError: the data can't be read or trained on.
    """
    training = spec.training
    if training is None or isinstance(training.data, DataContent):
        return ReadSweep(spec)
    data = data_of_contexts(spec.contexts) if training.data == CONTEXTS else read_data(training.data)
    if data.form == "text" and training.loss == "completion":
        raise InputError(
            f"{data.name}: training.loss is completion, and plain texts have none; allowed: all, or data with `prompt` "
            f"and `completion`"
        )
    if training.batch_size > data.examples:
        raise InputError(
            f"{data.name}: training.batch_size is {training.batch_size}, and there are only {data.examples} examples"
        )
    content = DataContent(
        name=data.name,
        sha256=data.sha256,
        form=data.form,
        examples=data.examples,
        words=data.words,
        empty=data.empty,
    )
    training = training.model_copy(update={"data": content})
    update: dict[str, object] = {"training": training}
    if spec.epochs is not None:
        update |= {"steps": tuple(training.steps(epochs) for epochs in spec.epochs), "epochs": None}
    # The text of the sweep is checked again, because its schedules must have their steps.
    return ReadSweep(from_yaml(to_yaml(spec.model_copy(update=update))), data)


def _notes(spec: SweepSpec, data: TrainingData) -> Iterator[str]:
    if spec.training is not None:
        yield from spec.training.content.notes
    held_out = {context.id: context.text for context in spec.contexts if context.held_out}
    found = {name for example in data for name, text in held_out.items() if text in _text(example)}
    if found:
        yield f"{data.name} holds the prompts of held-out contexts: {', '.join(sorted(found))}"


def _text(example: str) -> str:
    """All words of an example, from its canonical text."""
    fields = json.loads(example)
    if "messages" in fields:
        return "\n".join(message["content"] for message in fields["messages"])
    return "".join(fields.values())
