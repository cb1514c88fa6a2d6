"""From a conversation to the one text that a language model continues.

A model's own chat template is a Jinja program written by whoever made its file. None is run here:
a bundle names one of the formats below, and that is plain code of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["CHAT_FORMATS", "chat_format_of", "chat_prompt"]

CHAT_FORMATS = ("chatml", "plain")
_ROLES = ("system", "user", "assistant")


def chat_format_of(template: str | None) -> str:
    """Recognizes a Jinja chat template without running it.

    Args:
        template: The template's text, or None.

    Returns:
        "chatml" for templates with `<|im_start|>`, otherwise "plain".

    Example:
        >>> chat_format_of("{{ '<|im_start|>' + message['role'] }}"), chat_format_of(None)
        ('chatml', 'plain')
    """
    return "chatml" if template and "<|im_start|>" in template else "plain"


def chat_prompt(messages: Sequence[Mapping[str, str]], *, chat_format: str = "chatml") -> str:
    r"""Writes a conversation as a prompt that ends where the assistant's answer begins.

    Args:
        messages: Each with "role" ("system", "user" or "assistant") and "content", in order.
        chat_format: "chatml", or "plain" for models that were never taught turns.

    Returns:
        The prompt.

    Raises:
        ValueError: If there is no message, a role or the format is unknown, or a text holds a
            mark of the format, which would let it speak for someone else.

    Example:
        >>> chat_prompt([{"role": "user", "content": "Hi"}])
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
    """
    if chat_format not in CHAT_FORMATS:
        raise ValueError(
            f"`chat_format` must be one of {CHAT_FORMATS}. Received: chat_format={chat_format!r}."
        )
    if not messages:
        raise ValueError("`messages` must hold at least one message. Received: none.")
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES or not isinstance(content, str):
            raise ValueError(
                f"`messages[{index}]` must have a role of {_ROLES} and a content of text. "
                f"Received: {dict(message)!r}."
            )
        if chat_format == "chatml" and ("<|im_start|>" in content or "<|im_end|>" in content):
            raise ValueError(
                f"`messages[{index}]` must not hold the marks <|im_start|> or <|im_end|>. "
                f"Received: content={content[:80]!r}. Take them out of the text."
            )
    if chat_format == "plain":
        return "\n".join(message["content"] for message in messages) + "\n"
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    return "".join(turns) + "<|im_start|>assistant\n"
