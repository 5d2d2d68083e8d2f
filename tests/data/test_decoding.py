"""Any file becomes the same upright RGB square, or a reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import centre, encoded, picture
from PIL import Image

from selfsup.data import decoding, pillow, tiff
from selfsup.data.decoding import decode, deep_sample
from selfsup.data.deep import NeedsRange
from selfsup.data.faults import NoImage, Unusable
from selfsup.data.headers import read_header

SIZE = 32
ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def written(tmp_path: Path, data: bytes, name: str = "x.jpg") -> str:
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 97}),
        ("JPEG", {"quality": 97, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 97}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("BMP", {}),
        ("PPM", {}),
        ("TGA", {}),
    ],
)
def test_every_format_gives_the_same_square(tmp_path, form, options):
    """Formats, with and without torchvision, agree with Pillow's antialiased resize to two gray levels."""
    image = picture(1)
    path = written(tmp_path, encoded(image, form, **options), f"x.{form.lower()}")

    found = decode(path, SIZE, {})

    assert (found.width, found.height) == (64, 48)
    assert far(found.pixels, centre(image, SIZE)) < 2


def test_torchvision_and_pillow_agree(tmp_path, monkeypatch):
    """Without torchvision's decoders Pillow reads the same to one gray level."""
    path = written(tmp_path, encoded(picture(1), "JPEG", quality=95))
    one = decode(path, SIZE, {})
    monkeypatch.setattr(decoding, "torchvision_decoders", lambda: None)
    other = decode(path, SIZE, {})

    assert one.hash == other.hash
    assert far(one.pixels, other.pixels) < 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, form, orientation):
    """A picture stored turned or mirrored comes out upright, its size too."""
    image = picture(2)
    turned = image.transpose(ORIENTATION[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 97} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}

    found = decode(written(tmp_path, encoded(turned, form, exif=exif, **options)), SIZE, {})

    assert far(found.pixels, centre(image, SIZE)) < 2


def test_large_jpegs_are_decoded_at_a_fraction_and_look_the_same(tmp_path):
    """From 4 and 16 times the store size on, a quarter or an eighth is decoded; the square differs by < 1.5 levels."""
    image = picture(3, 1200, 700)
    for name, exif_orientation in (("plain", 1), ("turned", 6)):
        exif = Image.Exif()
        exif[0x0112] = exif_orientation
        stored = image if exif_orientation == 1 else image.transpose(Image.Transpose.ROTATE_90)
        path = written(tmp_path, encoded(stored, "JPEG", quality=95, exif=exif), f"{name}.jpg")
        for size in (40, 128):
            found = decode(path, size, {})
            assert far(found.pixels, centre(image, size)) < 1.5
            assert (found.width, found.height) == (1200, 700)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": 1}, {"gray": True}])
@pytest.mark.parametrize(("width", "height"), [(131, 97), (640, 480), (1001, 1403)])
def test_both_decoders_of_reduced_jpegs_give_the_same_bytes(tmp_path, monkeypatch, options, width, height):
    """Whether simplejpeg or Pillow reads a JPEG at a half, a quarter or an eighth cannot be seen in the square."""
    image = picture(3, width, height).convert("L" if "gray" in options else "RGB")
    upright = Image.Exif()
    upright[0x0112] = 1
    own = {"exif": upright} if "exif" in options else {k: v for k, v in options.items() if k != "gray"}
    path = written(tmp_path, encoded(image, "JPEG", quality=90, **own))
    with monkeypatch.context() as patched:
        patched.setattr(pillow, "read", None)  # simplejpeg reads it, or this fails
        one = decode(path, SIZE, {})
    monkeypatch.setattr(decoding, "_reduced", lambda *_: None)
    other = decode(path, SIZE, {})

    assert (one.width, one.height) == (other.width, other.height) == (width, height)
    assert (one.pixels == other.pixels).all()


def test_the_header_of_a_jpeg_says_whether_it_is_turned():
    """Only an orientation of 1 or none is upright; what cannot be read may be turned."""
    for orientation in (None, *range(1, 9)):
        exif = Image.Exif()
        exif[0x010E] = "a description in front of it"
        if orientation is not None:
            exif[0x0112] = orientation
        data = encoded(picture(2), "JPEG", exif=exif)
        assert read_header(data).turned == (orientation not in (None, 1))
    block = data.index(b"Exif\0\0")
    for first, broken in ((block + 6, b"XX"), (block + 10, b"\xff\xff\xff\xff")):
        assert read_header(data[:first] + broken + data[first + len(broken) :]).turned
    assert not read_header(encoded(picture(2), "JPEG")).turned


@pytest.mark.parametrize("side", [320, 448])
def test_a_jpeg_at_a_fraction_keeps_fine_detail(tmp_path, side):
    """Of an image 10 or 14 times the store size a quarter is decoded: 48 dB from the whole, where an eighth has 37."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    path = written(tmp_path, encoded(image, "JPEG", quality=98, subsampling=0))

    found = decode(path, SIZE, {}).pixels

    assert ((found.astype(float) - centre(image, SIZE)) ** 2).mean() < 255**2 / 10**4.4


def test_no_jpeg_is_decoded_below_the_store_size():
    """The fraction leaves at least the store size, and less than four times of it up to 32 times."""
    for ratio in (1, 1.99, 2, 3.9, 4, 7.9, 8, 15.9, 16, 31):
        assert 1 <= ratio / pillow.fraction(ratio) < 4


def test_modes_are_converted(tmp_path):
    """Gray, black and white, palette and CMYK images become RGB."""
    image = picture(4)
    for mode, limit in (("L", 0.6), ("P", 25), ("CMYK", 3), ("1", 60)):
        form = "TIFF" if mode == "CMYK" else "PNG"
        found = decode(written(tmp_path, encoded(image.convert(mode), form), f"{mode}.x.png"), SIZE, {})
        assert far(found.pixels, centre(image.convert("L") if mode in "L1" else image, SIZE)) < limit
        assert found.traits == (("cmyk",) if mode == "CMYK" else ())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_becomes_white(tmp_path, mode):
    """Alpha is put on white and said; an alpha that hides nothing is not mentioned."""
    image = picture(5, 64, 64)
    alpha = Image.fromarray(np.repeat(np.array([0, 255], np.uint8), 32)[:, None].repeat(64, 1))
    for number, mask in enumerate((alpha, Image.new("L", image.size, 255))):
        see_through = image.convert("RGBA")
        see_through.putalpha(mask)
        shown = see_through.quantize(200) if mode == "PA" else see_through.convert(mode)

        found = decode(written(tmp_path, encoded(shown, "PNG"), f"{number}.png"), SIZE, {})

        assert found.traits == (("alpha",) if number == 0 else ())
        assert (found.pixels[:, :15] == 255).all() == (number == 0)


def test_first_frame_of_a_gif_is_used(tmp_path):
    """A GIF of two frames gives the first and says so."""
    first, second = picture(6), picture(7)
    path = written(tmp_path, encoded(first, "GIF", save_all=True, append_images=[second]), "x.gif")

    found = decode(path, SIZE, {})

    assert far(found.pixels, centre(first, SIZE)) < far(found.pixels, centre(second, SIZE)) / 3
    assert found.traits == ("frames",)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ],
)
@pytest.mark.parametrize("share", [0.6, 0.95])
@pytest.mark.parametrize("side", [60, 800])
def test_a_file_cut_short_is_never_used(tmp_path, form, options, share, side):
    """Small ones (torchvision) and large ones (Pillow at a fraction) alike."""
    data = encoded(picture(8, side, side), form, **options)

    with pytest.raises(Unusable):
        decode(written(tmp_path, data[: int(share * len(data))]), SIZE, {})


@pytest.mark.parametrize("side", [60, 800])
@pytest.mark.parametrize("filler", [b"", bytes(40)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_with_an_end_but_without_its_lower_part_is_not_used(tmp_path, side, filler, orientation):
    """Libjpeg fills in gray without an error there; a picture that really ends in that gray is used."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(8, side, side), "JPEG", quality=95, exif=exif)
    with pytest.raises(Unusable, match="truncated"):
        decode(written(tmp_path, data[: int(0.6 * len(data))] + filler + b"\xff\xd9"), SIZE, {})

    gray = picture(8, side, side)
    gray.paste((128, 128, 128), (0, side // 2, side, side))
    decode(written(tmp_path, encoded(gray, "JPEG", quality=95, exif=exif)), SIZE, {})


def test_reasons_are_words(tmp_path):
    """Empty files, text, bombs and broken headers are told apart."""
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(99)
    cases = {
        b"": "empty",
        b"<html>": "no image, although the name ends in .jpg",
        bomb: "60000 x 60000 pixels are too many",
        b"\x89PNG\r\n\x1a\n" + bytes(99): "damaged|cannot be decoded",
    }
    for data, words in cases.items():
        with pytest.raises(Unusable, match=words):
            decode(written(tmp_path, data), SIZE, {})
    with pytest.raises(NoImage):
        decode(written(tmp_path, b"hello", "notes"), SIZE, {})


def test_a_large_bitmap_needs_no_large_copies(tmp_path):
    """An image of 20 million pixels is shrunk in strips and looks the same."""
    image = picture(9, 80, 60).resize((4800, 4300))
    path = written(tmp_path, encoded(image, "BMP"), "x.bmp")

    assert far(decode(path, SIZE, {}).pixels, centre(image, SIZE)) < 1


def test_a_large_picture_with_transparency_is_shrunk_on_white(tmp_path):
    """The strips are put on white one by one, and what was transparent is said, wherever it was."""
    image = picture(9, 60, 60).resize((4300, 4300)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 3000, 4300, 4300))
    path = written(tmp_path, encoded(image, "TIFF"), "x.tif")

    found = decode(path, SIZE, {})

    assert found.traits == ("alpha",)
    assert (found.pixels[:, 23:] == 255).all()
    assert far(found.pixels[:, :22], centre(image, SIZE)[:, :22]) < 1


def test_content_decides_not_the_name(tmp_path):
    """A PNG called .jpg, and images without extension, are read."""
    image = picture(10)
    for name in ("x.jpg", "x", "x.dat", "x.jpg.2"):
        assert far(decode(written(tmp_path, encoded(image, "PNG"), name), SIZE, {}).pixels, centre(image, SIZE)) < 1


def test_deep_images_wait_for_the_range_of_the_folder(tmp_path):
    """16-bit and float images are scaled by the range that is given, never by their own."""
    gray = np.asarray(picture(11).convert("L"), np.float32)
    for name, values, kind, unit in (
        ("a.png", (gray * 10).astype(np.uint16), "16-bit", 10),
        ("b.tif", (gray * 10).astype(np.uint16), "16-bit", 10),
        ("c.tif", gray / 1000, "float", 1 / 1000),
    ):
        Image.fromarray(values).save(tmp_path / name)
        path = str(tmp_path / name)
        with pytest.raises(NeedsRange):
            decode(path, SIZE, {})
        full, half = (decode(path, SIZE, {kind: (0.0, top * unit)}) for top in (255, 510))
        assert far(full.pixels, centre(picture(11).convert("L"), SIZE)) < 1
        assert far(half.pixels, full.pixels / 2) < 1
        found = deep_sample(path)
        assert found[0] == kind
        assert np.median(found[1]) == pytest.approx(np.median(gray) * unit, rel=0.02)


def test_a_float_image_with_holes_is_read(tmp_path):
    """What is not a number becomes black and does not spread."""
    values = np.full((40, 40), 0.5, np.float32)
    values[10:20, 10:20] = np.nan
    values[30, 30] = np.nan
    Image.fromarray(values).save(tmp_path / "x.tif")

    found = decode(str(tmp_path / "x.tif"), SIZE, {"float": (0.0, 1.0)}).pixels

    assert (found[:, 9:15, 9:15] == 0).all()
    assert (found[:, 20:] > 0).all()
    assert (abs(found[:, :6].astype(int) - 128) <= 1).all()


def packed(data: bytes, compression: str) -> bytes:
    """Bytes as libtiff packs them: those of an image of one gray row."""
    file = encoded(Image.frombytes("L", (len(data), 1), data), "TIFF", compression=compression)
    with Image.open(io.BytesIO(file)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
    return file[start : start + length]


def rgb_tiff(
    channels: int = 3,
    compression: str = "raw",
    predictor: bool = False,
    rows: int = 20,
    tiles: bool = False,
    apart: bool = False,
    order: str = "<",
    turned: int = 1,
    kind: str = "u2",
    color: int = 2,
) -> tuple[bytes, np.ndarray]:
    """A TIFF of 30 x 20 pixels, written by hand: in strips of some rows or in tiles, its channels together or apart."""
    values = np.random.default_rng(0).integers(0, 60000, (20, 30, channels)).astype(order + kind)
    pieces = []
    for plane in np.split(values, channels, axis=2) if apart else [values]:
        whole = np.pad(plane, ((0, 12), (0, 2), (0, 0))) if tiles else plane
        cut = (
            [(y, x, 16, 16) for y in (0, 16) for x in (0, 16)]
            if tiles
            else [(y, 0, rows, 30) for y in range(0, 20, rows)]
        )
        for y, x, high, wide in cut:
            piece = whole[y : y + high, x : x + wide]
            zero = np.zeros_like(piece[:, :1])
            data = (np.diff(piece, axis=1, prepend=zero) if predictor else piece).astype(order + kind).tobytes()
            pieces.append(data if compression == "raw" else packed(data, compression))
    code = {"raw": 1, "tiff_lzw": 5, "tiff_adobe_deflate": 8, "packbits": 32773, "jpeg2000": 34712}[compression]
    fields = {256: 30, 257: 20, 259: code, 262: color, 274: turned, 277: channels, 284: 2 if apart else 1}
    fields |= {317: 2 if predictor else 1, 339: 3 if kind[0] == "f" else 1}
    fields |= {322: 16, 323: 16} if tiles else {278: rows}
    after, starts = 8 + 2 + 12 * (len(fields) + 3) + 4, []
    tail = struct.pack(f"{order}{channels}H", *[8 * int(kind[1])] * channels)
    lists = after + len(tail)
    body = lists + 8 * len(pieces)
    for piece in pieces:
        starts.append(body)
        body += len(piece)
    entries = {tag: struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in fields.items()}
    entries[258] = struct.pack(order + "HHII", 258, 3, channels, after)
    for tag, place, numbers in (
        (324 if tiles else 273, lists, starts),
        (325 if tiles else 279, lists + 4 * len(pieces), list(map(len, pieces))),
    ):
        entries[tag] = struct.pack(order + "HHII", tag, 4, len(pieces), numbers[0] if len(pieces) == 1 else place)
        tail += struct.pack(f"{order}{len(pieces)}I", *numbers)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4) + tail + b"".join(pieces), values


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize(
    "form",
    [{}, {"rows": 7}, {"tiles": True}, {"apart": True, "rows": 7}, {"order": ">"}, {"kind": "f4"}, {"channels": 4}],
)
def test_rgb_tiffs_of_16_bits_keep_their_bits(compression, predictor, form):
    """However they are packed: strips, tiles, channels apart, either byte order, floats, with transparency."""
    data, values = rgb_tiff(compression=compression, predictor=predictor and form.get("kind") != "f4", **form)

    found = tiff.read_deep(data)

    assert found is not None
    assert found.dtype == np.dtype(form.get("kind", "u2"))
    assert (found == values.transpose(2, 0, 1)[:3]).all()


def test_a_deep_tiff_is_turned_upright():
    """As its orientation says."""
    data, values = rgb_tiff(turned=6)

    assert (tiff.read_deep(data) == np.rot90(values, -1).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("form", [{"compression": "tiff_lzw"}, {"rows": 7, "compression": "tiff_lzw"}, {"rows": 7}])
def test_a_deep_tiff_cut_short_is_never_used(tmp_path, form):
    """Whichever strip is missing its end."""
    data, _ = rgb_tiff(**form)

    with pytest.raises(Unusable, match="truncated"):
        decode(written(tmp_path, data[:-40], "x.tif"), SIZE, {})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"compression": "jpeg2000"}, r"3 channels of 16 bits cannot be read at full depth \(compression JPEG 2000\)"),
        ({"channels": 4, "color": 5}, "4 channels of 16 bits cannot be read at full depth"),
    ],
)
def test_a_deep_tiff_is_never_read_at_8_bits(tmp_path, monkeypatch, form, words):
    """What cannot be read with all its bits is skipped by name: other packings, CMYK."""
    monkeypatch.setitem(globals(), "packed", lambda data, _: data)

    with pytest.raises(Unusable, match=words):
        decode(written(tmp_path, rgb_tiff(**form)[0], "x.tif"), SIZE, {})


def test_too_many_channels_are_said(tmp_path):
    """An image of 6 channels is skipped with the number."""
    with pytest.raises(Unusable, match="6 channels"):
        decode(written(tmp_path, rgb_tiff(6)[0], "x.tif"), SIZE, {})


def test_png_of_16_bits_and_three_channels(tmp_path):
    """Its low bytes are not lost where torchvision can read them."""
    values = np.random.default_rng(0).integers(0, 1000, (40, 40, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = b""
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    kind, sample = deep_sample(written(tmp_path, b"\x89PNG\r\n\x1a\n" + chunks, "x.png"))

    assert kind == "16-bit"
    assert sorted(sample) == sorted(values.reshape(-1).astype(np.uint16))


def test_headers_tell_size_and_kind():
    """The quick look at the first bytes agrees with Pillow."""
    for form, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ):
        header = read_header(encoded(picture(12, 70, 50), form, **options))
        assert (header.width, header.height, header.plain) == (70, 50, True)
    see_through = picture(12).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        encoded(picture(12).convert("CMYK"), "JPEG"),
        encoded(picture(12).convert("P"), "PNG"),
        encoded(picture(12).convert("RGBA"), "PNG"),
        encoded(picture(12), "PNG", transparency=(1, 2, 3)),
        encoded(picture(12), "PNG", exif=exif),
        encoded(see_through, "WEBP"),
        encoded(see_through, "WEBP", lossless=True),
    ):
        assert not read_header(data).plain


def test_formats_that_run_programs_are_never_tried():
    """PostScript would start Ghostscript."""
    assert not {"EPS", "WMF"} & set(pillow._formats(True) + pillow._formats(False))
