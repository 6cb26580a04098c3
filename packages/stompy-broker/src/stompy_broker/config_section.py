"""What all sections of the configuration have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Settings that belong together; a key that there is not is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="wrap")
    @classmethod
    def _check_truths(cls, value: object, read: ValidatorFunctionWrapHandler) -> object:
        """True is no number, though Python counts it as one."""
        result: object = read(value)
        if isinstance(value, bool) and not isinstance(result, bool):
            raise PydanticCustomError("no_number", "must be a number")
        return result
