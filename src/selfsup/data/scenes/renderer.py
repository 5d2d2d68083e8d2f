"""Draw scenes with Panda3D's software renderer, which needs no display. The only file that imports panda3d."""

import threading
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Real, UInt8

from selfsup.data.scenes import textures
from selfsup.data.scenes.geometry import Layer, ground_color, layers, solid_ground
from selfsup.data.scenes.scene import Camera, Scene
from selfsup.errors import InputError

if TYPE_CHECKING:
    from panda3d import core

OVERSAMPLING = 4  # pixels drawn per side of a pixel given: fewer let edges wobble and textures shimmer
MIDDLE = 3  # pixels drawn per side of a pixel whose middle is looked at
SMALLEST, LARGEST = 16, 512


def render(scenes: Iterable[Scene], size: int) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    """Draw scenes one after the other in this process, `size` pixels square.

    Raises:
        InputError: if the size is out of range or panda3d is missing, before anything is drawn.
    """
    check_size(size)
    require_panda3d()
    return (_averaged(_canvas(size, OVERSAMPLING).picture(scene), OVERSAMPLING) for scene in scenes)


def check_size(size: int) -> None:
    """Refuse sizes the renderer is not made for."""
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"Scenes are drawn at {SMALLEST} to {LARGEST} pixels, got {size}; try 64.")


def require_panda3d() -> None:
    """Refuse politely where the renderer is not installed."""
    try:
        import panda3d.core  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Scenes need panda3d, which could not be imported ({error}); "
            "try `pip install panda3d`, or give a folder of images."
        ) from error


def numbered(scene: Scene, size: int, tile: tuple[int, int] = (0, 0)) -> Int[np.ndarray, "S S"]:
    """Say which triangle is seen in the middle of each pixel, counted over `solid_ground` in order; -1 where none is.

    Every triangle is drawn in a colour that is its number. Three pixels per side of a pixel are drawn and the middle
    one kept: what is seen exactly in the middle of a pixel, with the precision of edges of a larger picture.

    Args:
        scene: what to look at.
        size: side in pixels.
        tile: a picture that joins this one, so many to the right and so many down.
    """
    return _canvas(size, MIDDLE).numbered(scene, tile)


@cache
def _canvas(size: int, times: int) -> "Canvas":
    return Canvas(size * times)


class Canvas:
    """One offscreen buffer of one size, drawn into again and again."""

    _turn = threading.Lock()  # the engine belongs to the process, and draws one picture at a time

    def __init__(self, side: int) -> None:
        with self._turn:
            self._open(side)

    def picture(self, scene: Scene) -> UInt8[np.ndarray, "S S 3"]:
        """Draw one scene."""
        ground = np.round(ground_color(scene) * 255) / 255
        with self._turn:
            textured = [
                (layer.solid, _geom(layer, self._format), self._textures[layer.pattern]) for layer in layers(scene)
            ]
            return self._drawn_by(textured, scene.camera, ground)[:, :, 2::-1]  # drawn as blue, green, red

    def numbered(self, scene: Scene, tile: tuple[int, int]) -> Int[np.ndarray, "S S"]:
        """Give the number of the triangle seen in the middle of each block of pixels."""
        first, parts = 0, []
        with self._turn:
            for solid, group in groupby(solid_ground(scene), lambda layer: layer.solid):
                corners = np.concatenate([layer.positions[layer.faces].reshape(-1, 3) for layer in group])
                parts.append((solid, _numbers(corners, first, self._format), None))
                first += len(corners) // 3
            drawn = self._drawn_by(parts, scene.camera, np.ones(3), tile)[MIDDLE // 2 :: MIDDLE, MIDDLE // 2 :: MIDDLE]
        blue, green, red = (drawn[:, :, k].astype(np.int64) for k in range(3))
        numbers = red + 256 * green + 65536 * blue
        return np.where(numbers < first, numbers, -1)  # white is the ground behind all

    def _open(self, side: int) -> None:
        from panda3d import core

        _quiet()
        self._side = side
        self._engine = core.GraphicsEngine.getGlobalPtr()
        pipe = core.GraphicsPipeSelection.getGlobalPtr().makePipe("TinyOffscreenGraphicsPipe")
        properties = core.FrameBufferProperties()
        properties.setRgbaBits(8, 8, 8, 8)
        properties.setDepthBits(24)
        window = core.WindowProperties.size(side, side)
        refuse_window = core.GraphicsPipe.BFRefuseWindow
        self._buffer = pipe and self._engine.makeOutput(pipe, f"scenes-{side}", 0, properties, window, refuse_window)
        if self._buffer is None:
            raise RuntimeError("panda3d opened no software buffer (TinyOffscreenGraphicsPipe)")
        self._drawn = core.Texture()
        self._buffer.addRenderTexture(self._drawn, core.GraphicsOutput.RTMCopyRam)
        self._root = core.NodePath("scene")
        self._lens = core.PerspectiveLens()
        self._camera = core.NodePath(core.Camera("camera", self._lens))
        self._buffer.makeDisplayRegion().setCamera(self._camera)
        scene_root = core.NodePath("root")
        self._root.reparentTo(scene_root)
        self._camera.reparentTo(scene_root)
        self._format = core.GeomVertexFormat.getV3c4t2()
        self._textures = [_texture(pattern) for pattern in textures.bank()]
        core.CullBinManager.getGlobalPtr().addBin("flat", core.CullBinManager.BTFixed, 5)

    def _drawn_by(
        self,
        parts: "Iterable[tuple[bool, core.Geom, core.Texture | None]]",
        camera: Camera,
        ground: Float[np.ndarray, " 3"],
        tile: tuple[int, int] = (0, 0),
    ) -> UInt8[np.ndarray, "S S 4"]:
        """Draw geoms in their order, those that are solid hidden by depth; blue, green and red, from the top."""
        from panda3d import core

        self._buffer.setActive(True)
        self._buffer.setClearColor(core.LColor(*(float(value) for value in ground), 1.0))
        self._root.getChildren().detach()
        for order, (solid, geom, texture) in enumerate(parts):
            self._add(solid, geom, texture, order)
        self._aim(camera, tile)
        self._engine.renderFrame()
        self._buffer.setActive(False)
        drawn = np.frombuffer(self._drawn.getRamImage(), np.uint8).reshape(self._side, self._side, -1)
        return drawn[::-1]  # drawn bottom up

    def _add(self, solid: bool, geom: "core.Geom", texture: "core.Texture | None", order: int) -> None:
        from panda3d import core

        node = core.GeomNode("layer")
        node.addGeom(geom)
        path = self._root.attachNewNode(node)
        if texture is not None:
            path.setTexture(texture)
        if not solid:
            path.setBin("flat", order)
            path.setDepthTest(False)
            path.setDepthWrite(False)
            path.setTwoSided(True)

    def _aim(self, camera: Camera, tile: tuple[int, int]) -> None:
        from panda3d import core

        right, down, forward = camera.axes()
        self._lens.setFov(camera.field_degrees)
        self._lens.setNearFar(camera.near, camera.far)
        film = self._lens.getFilmSize()
        self._lens.setFilmOffset(tile[0] * film[0], -tile[1] * film[1])
        rows = [(*right, 0), (*forward, 0), (*-down, 0), (*camera.eye, 1)]  # rows: panda3d multiplies from the left
        self._camera.setMat(core.LMatrix4(*(float(value) for row in rows for value in row)))


def _averaged(drawn: UInt8[np.ndarray, "T T 3"], times: int) -> UInt8[np.ndarray, "S S 3"]:
    """Average the pixels of each block, rounding half up."""
    side = len(drawn) // times
    rows = np.zeros((side, len(drawn), 3), np.uint16)
    for k in range(times):
        rows += drawn[k::times]
    total = np.zeros((side, side, 3), np.uint16)
    for k in range(times):
        total += rows[:, k::times]
    return ((total + times**2 // 2) // times**2).astype(np.uint8)


def _geom(layer: Layer, form: "core.GeomVertexFormat") -> "core.Geom":
    colors = np.minimum(np.round(layer.colors * 255) + 1, 255)  # patterns of 255 take one away
    return _triangles(layer.positions, colors, layer.places, layer.faces, form)


def _triangles(
    positions: Float[np.ndarray, "V 3"],
    colors: Real[np.ndarray, "V 3"],
    places: Float[np.ndarray, "V 2"],
    faces: Int[np.ndarray, "..."],
    form: "core.GeomVertexFormat",
) -> "core.Geom":
    from panda3d import core

    vertices = np.empty(len(positions), np.dtype([("place", "<f4", 3), ("color", "u1", 4), ("uv", "<f4", 2)]))
    vertices["place"], vertices["uv"] = positions, places
    vertices["color"][:, :3], vertices["color"][:, 3] = colors, 255
    data = core.GeomVertexData("layer", form, core.Geom.UHStatic)
    data.uncleanSetNumRows(len(vertices))
    data.modifyArrayHandle(0).copyDataFrom(vertices.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.GeomEnums.NTUint16)
    indices = triangles.modifyVertices()
    indices.uncleanSetNumRows(faces.size)
    indices.modifyHandle().copyDataFrom(faces.astype("<u2").tobytes())
    geom = core.Geom(data)
    geom.addPrimitive(triangles)
    return geom


def _numbers(corners: Float[np.ndarray, "V 3"], first: int, form: "core.GeomVertexFormat") -> "core.Geom":
    """Give triangles, three corners each, in colours that are their numbers: red first, then green, then blue."""
    numbers = np.repeat(first + np.arange(len(corners) // 3), 3)
    colors = numbers.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    return _triangles(corners, colors, np.zeros((len(corners), 2)), np.arange(len(corners)), form)


def _texture(pattern: UInt8[np.ndarray, "128 128"]) -> "core.Texture":
    from panda3d import core

    texture = core.Texture()
    texture.setup2dTexture(textures.SIDE, textures.SIDE, core.Texture.TUnsignedByte, core.Texture.FRgb)
    texture.setRamImage(np.repeat(pattern[:, :, None], 3, axis=2).tobytes())
    texture.setMinfilter(core.SamplerState.FTLinearMipmapLinear)
    texture.setMagfilter(core.SamplerState.FTLinear)
    return texture


@cache
def _quiet() -> None:
    """Keep the engine from talking, and from looking for a display or a sound card."""
    from panda3d import core

    settings = "notify-level error\nload-display p3tinydisplay\naudio-library-name null\n"
    core.loadPrcFileData("selfsup", settings)
