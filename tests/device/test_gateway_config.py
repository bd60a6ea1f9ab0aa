"""The gateway's settings."""

from pathlib import Path

import pytest

from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.layout import Layout
from fewbeats.errors import TargetError


def load(root: Path, text: str) -> GatewayConfig:
    layout = Layout(root)
    layout.config.parent.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(text)
    return GatewayConfig.load(layout)


def test_what_is_left_out_is_safe(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config == GatewayConfig() and config.production
    assert (config.source, config.patient) == ("serial:///dev/fewbeats-sensor", "")
    assert (config.trial_judged_s, config.trial_starts) == (300.0, 3)


def test_every_setting(tmp_path: Path) -> None:
    text = """
    mode = "development"
    source = "serial:///dev/ttyACM0"
    patient = "P-7.b"
    runtime = "litert"
    trial_judged_s = 60
    trial_starts = 5
    """
    assert load(tmp_path, text) == GatewayConfig(
        "development", "serial:///dev/ttyACM0", "P-7.b", "litert", 60.0, 5
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('mode = "prod"', "production"),
        ("mode = 1", "no str"),
        ('patients = "x"', "unknown name patients"),
        ('patient = "../x"', "patient's code"),
        ('patient = "."', "patient's code"),
        ('runtime = "torch"', "runtime is one of"),
        ("trial_judged_s = inf", "trial_judged_s"),
        ("trial_judged_s = -1", "trial_judged_s"),
        ("trial_starts = 0", "trial_starts"),
        ("trial_starts = 2.5", "no int"),
        ("mode =", "no TOML"),
        ("x = " + "[" * 90_000, "no TOML"),
        ("#" * 200_000, "larger than"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(TargetError, match=match) as caught:
        load(tmp_path, text)
    assert "gateway.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_no_gateway_at_all(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no gateway at .*provision"):
        GatewayConfig.load(Layout(tmp_path))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.config.parent.mkdir(parents=True)
    layout.config.write_bytes(b"\xff\xfe")
    with pytest.raises(TargetError, match="no TOML"):
        GatewayConfig.load(layout)
