"""Settings in layers: command line over environment over file over default. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)


class LayeredSettings(BaseSettings):
    """Base of a process's settings; its `model_config` names the environment's prefix."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, file: Path | None = None, **given: Any) -> Self:
        """Settings from `given` (None: not given), the environment and `file`, in this order of strength.

        Raises:
            FileNotFoundError: `file` is named and not there.
            pydantic.ValidationError: names the key and the value.
        """
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"no settings file at {file}")
        told = {name: value for name, value in given.items() if value is not None}

        class FromFile(cls):  # type: ignore[valid-type, misc]
            model_config = SettingsConfigDict(yaml_file=file)

        return cast(Self, FromFile(**told))
