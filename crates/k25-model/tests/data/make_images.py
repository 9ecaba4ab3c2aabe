"""Writes images.safetensors: encoded images of every kind that k25 decodes, and what Pillow makes of
them with convert("RGB"). Needs Pillow 13, numpy, and cjpeg of libjpeg-turbo.

    python make_images.py

Each case is two tensors: "<name>.file" holds the encoded bytes, "<name>.rgb" the pixels [h, w, 3].
Animations have "<name>.animation" and "<name>.frames" [n, h, w, 3]; bicubic resizing has
"<name>.input" and "<name>.output".
"""
import io
import json
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image

rng = np.random.default_rng(20261121)
cases = {}


def add(name, data):
    image = Image.open(io.BytesIO(data))
    mode = image.mode
    pixels = np.asarray(image.convert("RGB"))
    assert name not in cases
    cases[name] = (data, pixels)
    print(f"{name:32} {len(data):6} bytes  {mode:6} {image.size}")


def photo(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = np.stack(
        [
            128 + 90 * np.sin(x / 7 + y / 11) + 20 * np.sin(x * y / 90),
            128 + 80 * np.cos(x / 9 - y / 5),
            128 + 100 * np.sin((x + y) / 6),
        ],
        -1,
    )
    return (waves + rng.normal(0, 10, waves.shape)).clip(0, 255).astype(np.uint8)


# --- PNG -----------------------------------------------------------------------------------------

def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, samples, extra=b"", interlace=0):
    """samples: [height, width, channels] of integers below 2**depth; unfiltered rows."""
    def packed(rows):
        out = b""
        for row in rows:
            flat = row.reshape(-1)
            if depth == 16:
                body = flat.astype(">u2").tobytes()
            elif depth == 8:
                body = flat.astype(np.uint8).tobytes()
            else:
                per_byte = 8 // depth
                flat = np.concatenate([flat, np.zeros(-len(flat) % per_byte, int)]).reshape(-1, per_byte)
                shifts = np.arange(per_byte - 1, -1, -1) * depth
                body = (flat << shifts).sum(1).astype(np.uint8).tobytes()
            out += b"\0" + body
        return out

    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        raw = b"".join(
            packed(samples[y0::dy, x0::dx]) for x0, y0, dx, dy in passes if samples[y0::dy, x0::dx].size
        )
    else:
        raw = packed(samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


W, H = 21, 13
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
for colour, label, depths in [
    (0, "grey", [1, 2, 4, 8, 16]),
    (2, "rgb", [8, 16]),
    (4, "grey_alpha", [8, 16]),
    (6, "rgba", [8, 16]),
]:
    for depth in depths:
        samples = rng.integers(0, 2**depth, (H, W, CHANNELS[colour]))
        if depth == 16 and colour == 0:
            samples[:6] //= 256  # small values too: Pillow cuts greys of 16 bits off at 255
        add(f"png_{label}_{depth}", png(W, H, depth, colour, samples))
        add(f"png_{label}_{depth}_interlaced", png(W, H, depth, colour, samples, interlace=1))
        if colour == 0:
            transparent = chunk(b"tRNS", struct.pack(">H", int(samples[0, 0, 0])))
            add(f"png_{label}_{depth}_trns", png(W, H, depth, colour, samples, transparent))
        if colour == 2:
            transparent = chunk(b"tRNS", struct.pack(">HHH", *(int(v) for v in samples[0, 0])))
            add(f"png_{label}_{depth}_trns", png(W, H, depth, colour, samples, transparent))
for depth in [1, 2, 4, 8]:
    palette = rng.integers(0, 256, 3 * 2**depth).astype(np.uint8).tobytes()
    samples = rng.integers(0, 2**depth, (H, W, 1))
    transparent = chunk(b"tRNS", bytes(rng.integers(0, 256, 2**depth // 2).astype(np.uint8)))
    add(f"png_palette_{depth}", png(W, H, depth, 3, samples, chunk(b"PLTE", palette)))
    add(f"png_palette_{depth}_trns", png(W, H, depth, 3, samples, chunk(b"PLTE", palette) + transparent))
    add(f"png_palette_{depth}_interlaced", png(W, H, depth, 3, samples, chunk(b"PLTE", palette), interlace=1))
    if depth > 1:
        short = palette[: 3 * (2**depth - 3)]
        add(f"png_palette_{depth}_short", png(W, H, depth, 3, samples, chunk(b"PLTE", short)))
samples = rng.integers(0, 256, (H, W, 3))
add("png_gamma_and_profile", png(W, H, 8, 2, samples, chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\0")))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


frames = [Image.fromarray(photo(23, 17)) for _ in range(3)]
add("png_animated", saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=90))
add("png_animated_default_apart", saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True))

# --- JPEG ----------------------------------------------------------------------------------------

for width, height in [(37, 29), (64, 48), (8, 8), (1, 1), (17, 16), (5, 40)]:
    image = Image.fromarray(photo(width, height))
    for label, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        for progressive in [False, True]:
            name = f"jpeg_{width}x{height}_{label}" + ("_progressive" if progressive else "")
            add(name, saved(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive))
image = Image.fromarray(photo(45, 33))
for quality in [1, 30, 95, 100]:
    add(f"jpeg_quality_{quality}", saved(image, "JPEG", quality=quality))
add("jpeg_440", saved(image, "JPEG", quality=85, subsampling="4:2:0", optimize=True))
add("jpeg_restart", saved(image, "JPEG", quality=85, restart_marker_blocks=2))
add("jpeg_restart_progressive", saved(image, "JPEG", quality=85, restart_marker_rows=1, progressive=True))
add("jpeg_grey", saved(image.convert("L"), "JPEG", quality=85))
add("jpeg_grey_progressive", saved(image.convert("L"), "JPEG", quality=85, progressive=True))
add("jpeg_cmyk", saved(image.convert("CMYK"), "JPEG", quality=85))
add("jpeg_cmyk_420", saved(image.convert("CMYK"), "JPEG", quality=85, subsampling=2))
add("jpeg_rgb_kept", saved(image, "JPEG", quality=85, keep_rgb=True))
noise = Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8))
add("jpeg_noise_420", saved(noise, "JPEG", quality=90, subsampling=2))
add("jpeg_noise_progressive", saved(noise, "JPEG", quality=60, subsampling=1, progressive=True))
exif = Image.Exif()
exif[0x0112] = 6
add("jpeg_orientation_ignored", saved(image, "JPEG", quality=85, exif=exif))



def cjpeg(image, *options):
    return subprocess.run(["cjpeg", *options], input=saved(image, "PPM"), capture_output=True, check=True).stdout


image = Image.fromarray(photo(41, 27))
for sampling in ["1x2", "4x1", "1x4", "4x2", "2x2,1x2,1x1", "1x1,2x2,2x2", "3x1,1x1,3x1"]:
    label = sampling.replace(",", "_")
    add(f"jpeg_sampling_{label}", cjpeg(image, "-quality", "80", "-sample", sampling))
    add(f"jpeg_sampling_{label}_progressive", cjpeg(image, "-quality", "80", "-sample", sampling, "-progressive"))
add("jpeg_grey_2x2", cjpeg(image, "-grayscale", "-sample", "2x2", "-restart", "3B"))
add("jpeg_rgb_progressive", cjpeg(image, "-rgb", "-progressive"))

# --- WebP ----------------------------------------------------------------------------------------

image = Image.fromarray(photo(37, 29))
alpha = image.copy()
alpha.putalpha(Image.fromarray(rng.integers(0, 256, (29, 37), dtype=np.uint8)))
add("webp_lossy", saved(image, "WEBP", quality=70))
add("webp_lossless", saved(image, "WEBP", lossless=True))
add("webp_lossy_alpha", saved(alpha, "WEBP", quality=70))
add("webp_lossless_alpha", saved(alpha, "WEBP", lossless=True, exact=True))
add("webp_animated", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=90))
clear = [Image.new("RGBA", (24, 18), (0, 0, 0, 0)) for _ in range(2)]
clear[0].paste((200, 100, 50, 255), (8, 6, 16, 12))
clear[1].paste((20, 130, 50, 255), (2, 2, 20, 16))
add("webp_animated_small_frame", saved(clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True))

# --- GIF -----------------------------------------------------------------------------------------

image = Image.fromarray(photo(31, 23)).quantize(64)
add("gif_plain", saved(image, "GIF"))
add("gif_interlaced", saved(image, "GIF", interlace=1))
add("gif_transparent", saved(image, "GIF", transparency=int(np.asarray(image)[0, 0])))
add("gif_grey", saved(Image.fromarray(photo(31, 23)).convert("L"), "GIF"))
add("gif_animated", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=90))


def gif(screen, global_table, blocks):
    """blocks: (left, top, width, height, local table or None, indices, transparent or None, disposal)."""
    width, height = screen
    bits = (len(global_table) // 3 - 1).bit_length() if global_table else 1
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, (0x80 if global_table else 0) | (bits - 1), 3, 0)
    out += global_table
    for left, top, w, h, table, indices, transparent, disposal in blocks:
        flags = (disposal << 2) | (transparent is not None)
        out += b"\x21\xf9\x04" + struct.pack("<BHB", flags, 7, transparent or 0) + b"\0"
        local = 0x80 | ((len(table) // 3 - 1).bit_length() - 1) if table else 0
        out += b"\x2c" + struct.pack("<HHHHB", left, top, w, h, local) + (table or b"")
        out += b"\x08" + lzw(indices) + b"\0"
    return out + b"\x3b"


def lzw(indices):
    """Literals of nine bits with a clear code before the width would grow."""
    codes = []
    for at, value in enumerate(indices):
        if at % 250 == 0:
            codes.append(256)
        codes.append(int(value))
    codes.append(257)
    bits = sum(code << (9 * at) for at, code in enumerate(codes))
    data = bits.to_bytes((9 * len(codes) + 7) // 8, "little")
    return b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))


table = rng.integers(0, 256, 3 * 16).astype(np.uint8).tobytes()
other = rng.integers(0, 256, 3 * 8).astype(np.uint8).tobytes()
small = rng.integers(0, 8, 6 * 5)
add("gif_small_frame", gif((14, 11), table, [(3, 2, 6, 5, None, small, None, 0)]))
add("gif_small_frame_transparent", gif((14, 11), table, [(3, 2, 6, 5, None, small, 5, 0)]))
add("gif_local_table", gif((14, 11), table, [(3, 2, 6, 5, other, small, None, 0)]))
add("gif_local_table_only", gif((14, 11), b"", [(0, 0, 6, 5, other, small, None, 0)]))
full = rng.integers(0, 16, 14 * 11)
add("gif_index_past_table", gif((14, 11), b"", [(0, 0, 14, 11, other, full, None, 0)]))

# --- BMP -----------------------------------------------------------------------------------------

image = Image.fromarray(photo(19, 11))
add("bmp_24", saved(image, "BMP"))
add("bmp_8_grey", saved(image.convert("L"), "BMP"))
add("bmp_8_palette", saved(image.quantize(40), "BMP"))
add("bmp_1", saved(image.convert("1"), "BMP"))
add("bmp_32", saved(image.convert("RGBA"), "BMP"))


def bmp(width, height, bits, body, table=b"", compression=0, masks=b"", used=0):
    offset = 14 + 40 + len(masks) + len(table)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 2835, 2835, used, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + masks + table + body


def rows_of(array, height):
    return b"".join(row.tobytes() + b"\0" * (-len(row.tobytes()) % 4) for row in array)


table4 = b"".join(bytes(rng.integers(0, 256, 3).astype(np.uint8)) + b"\0" for _ in range(16))
add("bmp_4_palette", bmp(16, 9, 4, rows_of(rng.integers(0, 256, (9, 8), dtype=np.uint8), 9), table4, used=16))
add("bmp_16_555", bmp(18, 9, 16, rows_of(rng.integers(0, 2**15, (9, 18)).astype("<u2"), 9)))
masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
add("bmp_16_565", bmp(18, 9, 16, rows_of(rng.integers(0, 2**16, (9, 18)).astype("<u2"), 9), compression=3, masks=masks))
add("bmp_top_down", bmp(18, -9, 24, rows_of(rng.integers(0, 256, (9, 18, 3), dtype=np.uint8), 9)))
add("bmp_32_padding", bmp(18, 9, 32, rng.integers(0, 256, (9, 18, 4), dtype=np.uint8).tobytes()))
run = b"".join(bytes([7, value, 0, 3, value, 1, 2, 0, 0, 0]) for value in range(9))[:-2] + b"\0\1"
add("bmp_8_runs", bmp(10, 9, 8, run, b"".join(bytes([v, 255 - v, v // 2, 0]) for v in range(256)), compression=1, used=256))
add("bmp_os2", b"BM" + struct.pack("<IHHI", 26 + 48 + 9 * 8, 0, 0, 26 + 48) + struct.pack("<IHHHH", 12, 16, 9, 1, 4)
    + bytes(rng.integers(0, 256, 48).astype(np.uint8)) + rng.integers(0, 256, 9 * 8).astype(np.uint8).tobytes())
run4 = b"".join(bytes([7, value << 4 | 3, 0, 3, value << 4 | 1, 2 << 4, 0, 0]) for value in range(9))[:-2] + b"\0\1"
add("bmp_4_runs", bmp(10, 9, 4, run4, table4, compression=2, used=16))
steps = bytes([3, 5, 0, 2, 4, 1, 2, 7, 0, 0]) + bytes([0, 2, 0, 6]) + bytes([10, 9, 0, 1])
add("bmp_8_steps", bmp(10, 9, 8, steps, b"".join(bytes([v, 255 - v, v // 2, 0]) for v in range(256)), compression=1, used=256))
masks = struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)
body = rng.integers(0, 256, (9, 18, 4), dtype=np.uint8).tobytes()
masked = bmp(18, 9, 32, body, compression=3, masks=masks + struct.pack("<I", 0xFF000000))
add("bmp_32_masks", masked[:14] + struct.pack("<I", 56) + masked[18:])
add("bmp_palette_forgotten", bmp(16, 9, 4, rows_of(rng.integers(0, 256, (9, 8), dtype=np.uint8), 9), table4, used=16)[:10]
    + struct.pack("<I", 54) + bmp(16, 9, 4, rows_of(rng.integers(0, 256, (9, 8), dtype=np.uint8), 9), table4, used=16)[14:])

# --- Animations ----------------------------------------------------------------------------------

animations = {}


def animate(name, data):
    image = Image.open(io.BytesIO(data))
    shown = []
    for index in range(image.n_frames):
        image.seek(index)
        shown.append(np.asarray(image.convert("RGB")))
    animations[name] = (data, np.stack(shown))


animate("saved", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=90))
full = lambda: rng.integers(0, 16, 14 * 11)
part = lambda: rng.integers(0, 8, 6 * 5)
for disposal in range(4):
    animate(f"disposal_{disposal}", gif((14, 11), table, [
        (0, 0, 14, 11, None, full(), None, 1),
        (3, 2, 6, 5, None, part(), None, disposal),
        (7, 5, 6, 5, other, part(), 5, disposal),
        (1, 1, 6, 5, None, part(), 2, 1),
    ]))

tensors, header, at = [], {}, 0
# --- Resizing ------------------------------------------------------------------------------------

resized = []
sizes = [(40, 30, 20, 15), (40, 30, 40, 11), (40, 30, 13, 30), (33, 47, 7, 5), (5, 60, 4, 50), (60, 5, 50, 4)]
sizes += [(1, 50, 1, 20), (2, 90, 1, 40), (9, 9, 30, 4), (9, 40, 30, 20), (40, 9, 20, 30), (8, 8, 31, 29), (64, 3, 1, 1)]
# Either side of the point where Pillow begins with the heights.
sizes += [(20, 41, 15, 31), (20, 41, 15, 30), (20, 42, 15, 31), (30, 61, 20, 41), (30, 61, 20, 40)]
for width, height, new_width, new_height in sizes:
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((new_width, new_height), Image.Resampling.BICUBIC)
    resized.append((noise, np.asarray(image)))

arrays = [(f"{name}.file", f"{name}.rgb", *case) for name, case in cases.items()]
arrays += [(f"{name}.animation", f"{name}.frames", *case) for name, case in animations.items()]
arrays = [(file, decoded, np.frombuffer(data, np.uint8), pixels) for file, decoded, data, pixels in arrays]
arrays += [(f"resize_{index}.input", f"resize_{index}.output", *pair) for index, pair in enumerate(resized)]
for before, after, given, expected in arrays:
    for name, array in [(before, given), (after, np.ascontiguousarray(expected))]:
        header[name] = {
            "dtype": "U8", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes],
        }
        tensors.append(array.tobytes())
        at += array.nbytes
head = json.dumps(header, separators=(",", ":")).encode()
head += b" " * (-len(head) % 8)
with open("images.safetensors", "wb") as out:
    out.write(struct.pack("<Q", len(head)) + head + b"".join(tensors))
print(len(cases), "cases", at + len(head) + 8, "bytes")
