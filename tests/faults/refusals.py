"""What a gateway must refuse: files, signatures and manifests that are not what they should be."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faults.bundles import (
    FOREIGN,
    KEY,
    SECOND,
    bundle,
    forged,
    manifest_of,
    packed,
)
from faults.disk import Tree, read_tree
from faults.failing import one_sentence
from faults.operations import FIRST, OTHER, gateway, operation, room, tree_before, watched
from faults.outcome import BrokenError, Outcome, goes_on, outcome_of
from faults.power import LOCK
from faults.rows import REFUSAL, Row
from fewbeats.device.container import FORMAT, MAX_BYTES
from fewbeats.device.keys import DEVELOPMENT_KEY
from fewbeats.device.layout import Layout
from fewbeats.device.slots import open_slots
from fewbeats.errors import (
    BundleAlteredError,
    BundleError,
    DowngradeError,
    FewbeatsError,
    SignatureError,
)

Case = tuple[str, bytes]
WATCHED = operation("refusal", watched, lambda root: None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of bundle that must not be taken.

    Attributes:
        name: for the table.
        error: the class of the refusal, or the classes that are right.
        cases: the bundles, each with what was done to it.
        harmless: whether some of them may be sound, and are then taken.
    """

    name: str
    error: type[FewbeatsError] | tuple[type[FewbeatsError], ...]
    cases: Callable[[], Iterator[Case]]
    harmless: bool = False


def refuse(refusal: Refusal, every: int = 1) -> Row:
    """Try to install each of the bundles; only the first of ``every`` cases in a row is tried."""
    row = Row(REFUSAL, refusal.name)
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        old = outcome_of(root)
        before = without_lock(root)
        for number, (story, data) in enumerate(refusal.cases()):
            row.points += 1
            if number % every:
                continue
            row.cases += 1
            taken = row.counts["new"]
            row.judge(story, _verdict, refusal, root, before, data)
            if row.counts["new"] > taken:
                root = gateway(before, folder, f"gateway{number}")
        row.judge("after all of them", _still, root, old)
    return row


def _verdict(refusal: Refusal, root: Path, before: Tree, data: bytes) -> str:
    try:
        open_slots(root).install(data)
    except refusal.error as error:
        one_sentence(str(error))
    except FewbeatsError as error:
        raise BrokenError(f"refused as {type(error).__name__}: {error}") from error
    else:
        if not refusal.harmless:
            raise BrokenError("it was taken")
        started = open_slots(root).start()
        if started.fell_back or Layout(root).slot(started.slot or "").read_bytes() != data:
            raise BrokenError(f"it was taken and does not start: {started.fell_back}")
        return "new"
    if without_lock(root) != before:
        raise BrokenError("refused, and yet something was changed")
    return "refused"


def _still(root: Path, old: Outcome) -> str:
    """The old bundle starts, and the gateway goes on."""
    if outcome_of(root) != old:
        raise BrokenError("the old bundle does not start any more")
    goes_on(root)
    return "old"


def without_lock(root: Path) -> Tree:
    """What a refusal must not change."""
    tree = read_tree(root)
    tree.pop(LOCK, None)
    return tree


def good() -> bytes:
    """The bundle that would be taken if nothing were done to it."""
    return packed(*OTHER)


def _flipped(bits: int) -> Iterator[Case]:
    data = good()
    for position in range(len(data)):
        for bit in range(bits):
            bad = bytearray(data)
            bad[position] ^= 1 << (position if bits == 1 else bit) % 8
            yield f"byte {position}, bit {bit}", bytes(bad)


def _truncated() -> Iterator[Case]:
    data = good()
    for length in range(len(data)):
        yield f"the first {length} of {len(data)} bytes", data[:length]


def _signatures() -> Iterator[Case]:
    data, other = good(), packed(*FIRST)
    yield "the signature of another bundle", data[:-64] + other[-64:]
    yield "a signature of zeros", data[:-64] + bytes(64)
    yield "signed by one key, named after another", data[:-96] + SECOND.public.raw + data[-64:]
    foreign = packed(*OTHER, FOREIGN)
    yield "signed by a foreign key in a trusted name", foreign[:-96] + data[-96:-64] + foreign[-64:]
    yield "bytes after the signature", data + b"\0"
    yield "signed twice", data + data[-96:]
    # Under a key of small order some signatures fit every message: no such key is trusted.
    for point in (bytes(32), b"\1" + bytes(31), b"\xff" * 32):
        yield f"key {point[:2].hex()}...", data[:-96] + point + point + bytes(32)


def _unknown() -> Iterator[Case]:
    yield "a foreign key", packed(*OTHER, FOREIGN)
    yield "the next key before it is trusted", packed(*OTHER, SECOND)


def _development() -> Iterator[Case]:
    yield "the development key in production", packed(*OTHER, DEVELOPMENT_KEY)


def _device_class() -> Iterator[Case]:
    for name in ("toaster", "", None, ["ecg-single-lead-gateway"]):
        yield f"device class {name!r}", forged(good(), manifest_of(good()) | {"device_class": name})


def _formats() -> Iterator[Case]:
    for version in (FORMAT + 1, FORMAT - 1, 0, 2**32 - 1):
        yield f"format {version}", forged(good(), version=version)
    requires = manifest_of(good())["requires"] | {"fewbeats": "99.0"}
    yield "needs a newer fewbeats", forged(good(), manifest_of(good()) | {"requires": requires})


def _older() -> Iterator[Case]:
    for version in ("0.9", "0", "0.9.99.99"):
        yield f"version {version}", packed(version, OTHER[1])


def _golden() -> Iterator[Case]:
    sound = bundle(*OTHER)
    form = sound.form
    for off in (0.001, 1.0, -100.0):
        wrong = replace(form, golden_embeddings=form.golden_embeddings + off)
        yield f"golden embeddings off by {off}", replace(sound, forms=(wrong,)).pack(KEY)
    other = replace(bundle(*FIRST).form, golden_embeddings=form.golden_embeddings)
    start = replace(sound.start, backbone_sha256=other.sha256)
    yield "another backbone", replace(sound, forms=(other,), start=start).pack(KEY)
    for cut in (1, 40, len(form.model) // 2, len(form.model)):
        model = form.model[:-cut]
        broken = replace(form, model=model)
        start = replace(sound.start, backbone_sha256=broken.sha256)
        made = replace(sound, version="1.2", forms=(broken,), start=start)
        yield f"a backbone cut by {cut} bytes", made.pack(KEY)


def _large() -> Iterator[Case]:
    data = good()
    yield "one byte more than a bundle may have", data + bytes(MAX_BYTES + 1 - len(data))
    yield "twice as large", bytes(2 * MAX_BYTES)
    card = {"padding": "x" * (MAX_BYTES - 2000)}
    yield "correctly signed, and too large", forged(data, manifest_of(data) | {"card": card})


def _nonsense() -> Iterator[Case]:
    data, manifest = good(), manifest_of(good())
    for text in (b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe{}", b"{}", b"NaN"):
        yield f"a manifest of {text!r}", forged(data, text)
    for depth in (900, 100_000):
        yield f"lists {depth} deep", forged(data, b"[" * depth + b"]" * depth)
        card = b'{"card":' * depth + b"1" + b"}" * depth
        yield f"tables {depth} deep", forged(data, card)
    yield "a number of a million digits", forged(data, b'{"parts":' + b"9" * 1_000_000 + b"}")
    for name, value in _ODD_FIELDS:
        yield f"{name} = {value!r:.40}", forged(data, manifest | {name: value})
    for name in manifest:
        rest = {key: value for key, value in manifest.items() if key != name}
        if name not in ("classes", "notice"):
            yield f"without {name}", forged(data, rest)
    for index, part in enumerate(manifest["parts"]):
        for name, value in _ODD_PARTS:
            if name == "name" or name in part:
                yield f"part {part['name']}: {name} = {value!r:.40}", _with(index, **{name: value})
    twice = copy.deepcopy(manifest)
    twice["parts"].append(dict(twice["parts"][0]))
    yield "a part twice", forged(data, twice)
    named_twice = copy.deepcopy(manifest)
    named_twice["parts"][1]["name"] = named_twice["parts"][0]["name"]
    yield "two parts of one name", forged(data, named_twice)
    turned = copy.deepcopy(manifest)
    turned["parts"].reverse()
    yield "parts in another order", forged(data, turned)


def _with(index: int, **changes: object) -> bytes:
    manifest = copy.deepcopy(manifest_of(good()))
    manifest["parts"][index] |= changes
    return forged(good(), manifest)


_LONG = "x" * 1_000_000
"""Nobody wants to read this in an error."""
_ODD_FIELDS: tuple[tuple[str, Any], ...] = (
    ("parts", []),
    ("parts", 3),
    ("parts", [[]]),
    ("parts", {"name": "x"}),
    ("runtimes", []),
    ("runtimes", ["onnx", "onnx"]),
    ("runtimes", ["../onnx"]),
    ("runtimes", "onnx"),
    ("version", "latest"),
    ("version", "1.2.3.4.5"),
    ("version", "-1"),
    ("version", 10**30),
    ("window", {"rate_hz": 10**9}),
    ("window", {"window_s": 1e308}),
    ("window", {"rate_hz": 125, "surprise": 1}),
    ("window", {"rate_hz": True}),
    ("window", None),
    ("adapt", {"rounds": 10**9}),
    ("adapt", {"step": float("nan")}),
    ("adapt", []),
    ("detector", {"confirm": 10**6, "among": 10**6}),
    ("detector", {"confirm": 3.5}),
    ("card", 7),
    ("card", None),
    ("requires", {}),
    ("requires", {"fewbeats": "soon"}),
    ("requires", 1),
    *((name, _LONG) for name in ("device_class", "version", "window", "card", "parts")),
    ("runtimes", [_LONG]),
    ("runtimes", ["x"] * 100_000),
    ("window", {_LONG: 1}),
    ("detector", {"confirm": _LONG}),
    ("requires", {"fewbeats": _LONG}),
)
_ODD_PARTS: tuple[tuple[str, Any], ...] = (
    ("bytes", -5),
    ("bytes", 0),
    ("bytes", 2**63),
    ("bytes", 1.5),
    ("bytes", "12"),
    ("bytes", True),
    ("bytes", None),
    ("sha256", ""),
    ("sha256", None),
    ("name", "../../../../etc/passwd"),
    ("name", "/dev/null"),
    ("name", ""),
    ("name", None),
    ("name", ["x"]),
    ("name", _LONG),
    ("bytes", _LONG),
    ("shape", _LONG),
    ("shape", [1] * 100_000),
    ("dtype", _LONG),
    ("dtype", "object"),
    ("dtype", "float16"),
    ("dtype", "O"),
    ("dtype", None),
    ("shape", [-1]),
    ("shape", [2**31, 2**31]),
    ("shape", [2**62, 4]),
    ("shape", [0]),
    ("shape", []),
    ("shape", "many"),
    ("shape", [1.0]),
    ("shape", [[1]]),
    ("shape", None),
)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**64, 1e308, float("inf"), float("nan"), "", "x", "../x",
    "\0", "9" * 400, [], [[]], [0], {}, {"": {}}, -1.5,
)  # fmt: skip


def mutated(rng: random.Random, manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with one to three of its values, anywhere in it, changed, dropped or doubled."""
    made = copy.deepcopy(manifest)
    for _ in range(rng.randint(1, 3)):
        node: Any = made
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = rng.choice(keys)
            deeper = isinstance(node[key], dict | list) and rng.random() < 0.8
            if not deeper:
                if rng.random() < 0.2:
                    del node[key]
                elif isinstance(node, list) and rng.random() < 0.2:
                    node.append(copy.deepcopy(node[key]))
                else:
                    node[key] = copy.deepcopy(rng.choice(_VALUES))
                break
            node = node[key]
    return made


def _mutations(count: int) -> Callable[[], Iterator[Case]]:
    def cases() -> Iterator[Case]:
        manifest = manifest_of(good())
        for seed in range(count):
            made = mutated(random.Random(seed), manifest)
            yield f"mutation {seed}", forged(good(), made)

    return cases


def refusals(bits: int = 8, mutations: int = 2000) -> tuple[Refusal, ...]:
    """All kinds.

    Args:
        bits: how many of each byte's bits to flip, one after the other.
        mutations: how many manifests to change at random.
    """
    return (
        Refusal("wrong signature", (BundleAlteredError, SignatureError), _signatures),
        Refusal("unknown key", SignatureError, _unknown),
        Refusal("development key in production", SignatureError, _development),
        Refusal("a bit flipped, every byte", BundleError, lambda: _flipped(bits)),
        Refusal("truncated, every length", BundleError, _truncated),
        Refusal("wrong device class", BundleError, _device_class),
        Refusal("newer or older format", BundleError, _formats),
        Refusal("downgrade", DowngradeError, _older),
        Refusal("golden windows that fail", BundleError, _golden),
        Refusal("too large", BundleError, _large),
        Refusal("manifest nonsense, signed", BundleError, _nonsense),
        Refusal("manifest mutations, signed", BundleError, _mutations(mutations), harmless=True),
    )
