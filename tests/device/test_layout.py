"""Where things lie on a gateway."""

import os
from pathlib import Path

import pytest

from fewbeats.device.layout import Layout
from fewbeats.device.slots import open_slots
from fewbeats.errors import SlotError


def test_the_paths_below_a_root() -> None:
    layout = Layout(Path("/media/card"))
    home = Path("/media/card/var/lib/fewbeats")
    assert layout.config == Path("/media/card/etc/fewbeats/gateway.toml")
    assert layout.keys == Path("/media/card/etc/fewbeats/keys")
    assert layout.slot("b") == home / "slots/b/bundle.fewbeats"
    assert (layout.home, layout.current, layout.state) == (
        home,
        home / "current",
        home / "state.json",
    )
    assert (layout.patients, layout.lock) == (home / "patients", home / "lock")
    assert Layout().home == Path("/var/lib/fewbeats")


def test_the_link_leads_to_the_slot(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.slot("a").parent.mkdir(parents=True)
    layout.slot("a").write_bytes(b"bundle")
    layout.current.symlink_to(layout.link_text("a"))
    assert (layout.current / "bundle.fewbeats").read_bytes() == b"bundle"


@pytest.mark.parametrize(
    "path", ["var/lib/fewbeats", "etc/fewbeats/keys", "etc/fewbeats/gateway.toml", "var/lib"]
)
def test_a_card_whose_links_lead_out_of_it(tmp_path: Path, path: str) -> None:
    card, outside = tmp_path / "card", tmp_path / "outside"
    outside.mkdir()
    place = card / path
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    for load in (Layout(card).check_inside, lambda: open_slots(card)):
        with pytest.raises(SlotError, match="leads out of") as caught:
            load()
        assert str(outside) in str(caught.value)
    place.unlink()
    (card / "data").mkdir()
    place.symlink_to(os.path.relpath(card / "data", place.parent))
    Layout(card).check_inside()
    Layout().check_inside()
