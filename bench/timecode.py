"""When a picture was made, in the picture: black and white blocks that survive coding, and their inverse below.

Read by the system's Python as well, which has the bindings of the RTSP server and no NumPy.
"""

from __future__ import annotations

BITS = 32  # of milliseconds
SIDE = 16  # px of a block
WIDTH, HEIGHT = (
    BITS * SIDE,
    2 * SIDE,
)  # px of the code, in the lower right corner, where no caption is drawn
BLACK, WHITE = 16, 235  # of a picture of limited range


def stamp(picture: bytearray, width: int, height: int, code_ms: int) -> None:
    """Burn a time into an I420 picture of that size (even, px) in place."""
    bits = [code_ms >> place & 1 for place in reversed(range(BITS))]
    shades = [bytes([WHITE if bit else BLACK]) * SIDE for bit in bits]
    inverse = [bytes([BLACK if bit else WHITE]) * SIDE for bit in bits]
    for number, line in enumerate((b"".join(shades), b"".join(inverse))):
        for row in range(height - HEIGHT + number * SIDE, height - HEIGHT + (number + 1) * SIDE):
            picture[(row + 1) * width - WIDTH : (row + 1) * width] = line
    for plane in (width * height, width * height * 5 // 4):
        for row in range((height - HEIGHT) // 2, height // 2):
            end = plane + (row + 1) * (width // 2)
            picture[end - WIDTH // 2 : end] = bytes([128]) * (WIDTH // 2)


def read(luma: list[list[int]]) -> int | None:
    """The time, ms, of (height, width) 0..255 grey; None where there is no code, or one that is not whole."""
    middles = [SIDE // 2 + place * SIDE - WIDTH for place in range(BITS)]
    upper, lower = luma[-HEIGHT + SIDE // 2], luma[-SIDE // 2]
    bits = [upper[middle] > 127 for middle in middles]
    if any(bit == (lower[middle] > 127) for bit, middle in zip(bits, middles, strict=True)):
        return None
    return sum(bit << place for place, bit in enumerate(reversed(bits)))
