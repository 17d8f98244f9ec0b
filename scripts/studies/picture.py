"""PNG files of many small images in rows and columns, with numbers beside them."""

import struct
import zlib

# Three by five dots of a character, a row in three bits.
GLYPHS = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 7, 1, 7), "4": (5, 5, 7, 1, 1), "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7), "7": (7, 1, 2, 2, 2), "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7), ".": (0, 0, 0, 0, 2), "-": (0, 0, 7, 0, 0),
    "a": (0, 3, 5, 5, 3), "l": (2, 2, 2, 2, 2),
}
# Colours from small to large, as of the other figures (viridis).
COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
WHITE, BLACK, SHADES = 0, 1, 254
DOT, ZOOM, GAP = 2, 2, 4


def palette(numpy):
    """White, black, and the shades."""
    place = numpy.linspace(0, len(COLOURS) - 1, SHADES)
    shades = [numpy.interp(place, range(len(COLOURS)), [c[i] for c in COLOURS]) for i in range(3)]
    return numpy.vstack([[[255] * 3, [0] * 3], numpy.stack(shades, axis=1).round()]).astype(numpy.uint8)


def write_text(canvas, row, column, text):
    for character in text:
        for y, bits in enumerate(GLYPHS[character]):
            for x in range(3):
                if bits >> (2 - x) & 1:
                    canvas[row + y * DOT:row + (y + 1) * DOT, column + x * DOT:column + (x + 1) * DOT] = BLACK
        column += 4 * DOT


def wide(text):
    return 4 * DOT * len(text) - DOT


def sheet(numpy, images, rows, columns, low, high):
    """A PNG: `images[row][column]` between the texts `rows` on their left and `columns` above; colours are logarithmic from `low` to `high`."""
    images = numpy.asarray(images)
    height, width = (n * ZOOM for n in images.shape[2:])
    left, top = GAP + max(map(wide, rows)) + GAP, 5 * DOT + 2 * GAP
    bar, ends = 5 * DOT, (f"{low:g}", f"{high:g}")
    across = max(len(columns) * (width + GAP), sum(map(wide, ends)) + 2 * GAP + SHADES)
    canvas = numpy.zeros((top + len(rows) * (height + GAP) + bar + 2 * GAP, left + across), numpy.uint8)
    shades = numpy.log(numpy.maximum(images, low) / low) / numpy.log(high / low) * (SHADES - 1)
    shades = numpy.where(images < low, WHITE, 2 + numpy.clip(shades.round(), 0, SHADES - 1)).astype(numpy.uint8)
    for c, text in enumerate(columns):
        write_text(canvas, GAP, left + c * (width + GAP) + max(0, width - wide(text)) // 2, text)
    for r, text in enumerate(rows):
        y = top + r * (height + GAP)
        write_text(canvas, y + (height - 5 * DOT) // 2, left - GAP - wide(text), text)
        for c in range(len(columns)):
            x = left + c * (width + GAP)
            # A frame around each.
            canvas[y - 1:y + height + 1, x - 1:x + width + 1] = BLACK
            canvas[y:y + height, x:x + width] = shades[r, c].repeat(ZOOM, 0).repeat(ZOOM, 1)
    # The colours, their ends beside them.
    y = canvas.shape[0] - bar - GAP
    write_text(canvas, y, left, ends[0])
    x = left + wide(ends[0]) + GAP
    canvas[y:y + bar, x:x + SHADES] = 2 + numpy.arange(SHADES)
    write_text(canvas, y, x + SHADES + GAP, ends[1])
    return png(numpy, canvas)


def png(numpy, canvas):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = canvas.shape
    # Each line begins with the number of its filter: none.
    lines = numpy.pad(canvas, ((0, 0), (1, 0))).tobytes()
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), chunk(b"PLTE", palette(numpy).tobytes()),
        chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b""),
    ])
