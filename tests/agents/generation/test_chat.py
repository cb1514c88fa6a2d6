"""A conversation with a generating agent, and the command that holds one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tfdistill.agents import Generator
from tfdistill.agents.generation.chat import Conversation
from tfdistill.cli.application import main
from tfdistill.cli.chat import chat


def test_a_conversation_streams_remembers_and_leaves_old_turns_out(generator):
    conversation = Conversation(generator)
    settings = {"max_new_tokens": 3, "temperature": 0.0}
    first = "".join(conversation.reply("abcd", **settings))
    again = "".join(conversation.reply("efgh", **settings))

    said = [message["content"] for message in conversation.messages]
    assert said == ["abcd", first, "efgh", again]
    prompt = f"abcd\n{first}\nefgh\n"
    assert again == generator.generate(prompt, stop="\n", **settings)
    for _ in range(4):  # outgrows the 24 slots
        "".join(conversation.reply("ijklmnop", **settings))
    with pytest.raises(ValueError, match="must be shorter than the context"):
        list(conversation.reply("x" * 24, **settings))
    assert len(conversation.messages) == 12


def test_the_command_streams_an_answer_and_tells_a_wrong_folder(bundles, tmp_path):
    options = ["--temperature", "0", "--max-new-tokens", "3"]
    done = CliRunner().invoke(chat, [str(bundles[0]), *options], input="ab\n\n")
    answer = Generator(bundles[0]).generate("ab\n", stop="\n", temperature=0.0, max_new_tokens=3)

    assert done.exit_code == 0
    assert done.output == f"> {answer}\n> \n"
    wrong = CliRunner().invoke(main, ["chat", str(tmp_path / "none")])
    assert wrong.exit_code == 1
    assert "must be an existing bundle folder" in wrong.output
