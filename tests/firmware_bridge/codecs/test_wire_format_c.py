"""The C code on the wire format's page, compiled and held against the codec."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fewbeats.firmware_bridge.codecs.framing import frame

PAGE = Path(__file__).parents[3] / "docs" / "wire-format.md"
MAIN = """
#include <stdio.h>
int main(void) {
    static uint8_t payload[2048], frame[2048];
    unsigned size;
    while (scanf("%u", &size) == 1) {
        for (unsigned i = 0; i < size; i++) {
            unsigned byte;
            if (scanf("%2x", &byte) != 1) return 1;
            payload[i] = (uint8_t)byte;
        }
        uint16_t crc = crc16(payload, size);
        payload[size] = (uint8_t)(crc >> 8);
        payload[size + 1] = (uint8_t)(crc & 0xFF);
        size_t end = cobs_encode(payload, size + 2, frame);
        for (size_t i = 0; i < end; i++) printf("%02x", frame[i]);
        printf("\\n");
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    snippet = re.search(r"```c\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert snippet
    folder = tmp_path_factory.mktemp("c")
    source = f"#include <stddef.h>\n#include <stdint.h>\n{snippet[1]}{MAIN}"
    (folder / "wire.c").write_text(source)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run([compiler, *strict, "-o", folder / "wire", folder / "wire.c"], check=True)
    return folder / "wire"


def test_it_makes_the_frames_of_the_codec(program: Path) -> None:
    rng = np.random.default_rng(0)
    payloads = [rng.integers(0, high, size, dtype=np.uint8).tobytes()
                for size in (1, 2, 251, 252, 253, 254, 255, 508, 700, 1024)
                for high in (1, 2, 256)]  # fmt: skip
    payloads += [bytes(range(1, 256)) * 3, b"\x01" * 600]
    text = "\n".join(f"{len(p)} {p.hex()}" for p in payloads)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    made = [bytes.fromhex(line) for line in done.stdout.split()]
    assert made == [frame(payload).strip(b"\0") for payload in payloads]
