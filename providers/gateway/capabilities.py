"""What a server turned out to accept, learned from its refusals."""

from __future__ import annotations

from dataclasses import dataclass

from providers.gateway.answers import with_schema_in_text
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import ChatCall, WireChat

TOKEN_FIELDS = ("max_tokens", "max_completion_tokens")
"""The two names of the length limit; OpenAI's reasoning models take only the second."""


@dataclass(slots=True)
class Capabilities:
    """The form of request a deployment takes.

    ``schema`` is ``None`` until an answer proved or a refusal disproved JSON-schema support.
    """

    schema: bool | None = None
    temperature: bool = True
    base64: bool = True
    token_field: str = TOKEN_FIELDS[0]

    def wire(self, call: ChatCall, schema_text: str, limit: float, keep_as: str = "") -> WireChat:
        """The call in the form this server takes."""
        formatted = self.schema is not False
        return WireChat(
            messages=call.messages
            if formatted
            else with_schema_in_text(call.messages, schema_text),
            max_tokens=call.max_tokens,
            temperature=call.temperature if self.temperature else None,
            token_field=self.token_field,
            schema=call.schema if formatted else None,
            purpose=call.purpose,
            payload=call.payload,
            timeout=limit,
            keep_as=keep_as,
        )

    def learn(self, fault: Fault, wire: WireChat) -> bool:
        """Take a refusal to heart; true when sending in another form may succeed.

        A refusal that names no parameter is put down to the schema while its support is unproven.
        """
        if fault.error_class is not ErrorClass.BAD_REQUEST:
            return False
        if fault.rejected == "temperature" and wire.temperature is not None:
            self.temperature = False
            return True
        if fault.rejected == "max_tokens" and wire.token_field == TOKEN_FIELDS[0]:
            self.token_field = TOKEN_FIELDS[1]
            return True
        named = fault.rejected == "response_format"
        if wire.schema is not None and (named or self.schema is None):
            self.schema = False
            return True
        return False

    def learn_embedding(self, fault: Fault, base64: bool) -> bool:
        """As :meth:`learn`, for embeddings: servers without base64 are asked for numbers."""
        if fault.error_class is ErrorClass.BAD_REQUEST and base64:
            self.base64 = False
            return True
        return False

    def confirm_schema(self) -> None:
        """An answer satisfied its schema."""
        if self.schema is None:
            self.schema = True

    def doubt_schema(self) -> None:
        """An answer was no JSON: a server that never gave any ignores the parameter."""
        if self.schema is None:
            self.schema = False
