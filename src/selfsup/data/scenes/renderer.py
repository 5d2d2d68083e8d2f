"""Draw scenes with Panda3D's software renderer, which needs no display. The only file that imports panda3d."""

import threading
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from selfsup.data.scenes import textures
from selfsup.data.scenes.description import Camera, Scene
from selfsup.data.scenes.geometry import Layer, ground_color, layers
from selfsup.errors import InputError

if TYPE_CHECKING:
    from panda3d import core

OVERSAMPLING = 4  # pixels drawn per side of a pixel given: fewer let edges wobble and textures shimmer
SMALLEST, LARGEST = 16, 512


def render(scenes: Iterable[Scene], size: int) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    """Draw scenes one after the other in this process, `size` pixels square.

    Raises:
        InputError: if the size is out of range or panda3d is missing, before anything is drawn.
    """
    check_size(size)
    require_panda3d()
    return (_renderer(size).draw(scene) for scene in scenes)


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


@cache
def _renderer(size: int) -> "Renderer":
    return Renderer(size)


class Renderer:
    """One offscreen buffer of one size, drawn into again and again."""

    _turn = threading.Lock()  # the engine belongs to the process, and draws one picture at a time

    def __init__(self, size: int) -> None:
        with self._turn:
            self._open(size)

    def draw(self, scene: Scene) -> UInt8[np.ndarray, "S S 3"]:
        """Draw one scene, antialiased."""
        from panda3d import core

        with self._turn:
            red, green, blue = np.round(ground_color(scene) * 255) / 255
            self._buffer.setActive(True)
            self._buffer.setClearColor(core.LColor(red, green, blue, 1.0))
            self._root.getChildren().detach()
            for order, layer in enumerate(layers(scene)):
                self._add(layer, order)
            self._aim(scene.camera)
            self._engine.renderFrame()
            self._buffer.setActive(False)
            return self._picture()

    def _open(self, size: int) -> None:
        from panda3d import core

        _quiet()
        self._size = size
        self._engine = core.GraphicsEngine.getGlobalPtr()
        pipe = core.GraphicsPipeSelection.getGlobalPtr().makePipe("TinyOffscreenGraphicsPipe")
        properties = core.FrameBufferProperties()
        properties.setRgbaBits(8, 8, 8, 8)
        properties.setDepthBits(24)
        window = core.WindowProperties.size(size * OVERSAMPLING, size * OVERSAMPLING)
        refuse_window = core.GraphicsPipe.BFRefuseWindow
        self._buffer = pipe and self._engine.makeOutput(pipe, f"scenes-{size}", 0, properties, window, refuse_window)
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

    def _add(self, layer: Layer, order: int) -> None:
        from panda3d import core

        node = core.GeomNode("layer")
        node.addGeom(_geom(layer, self._format))
        path = self._root.attachNewNode(node)
        path.setTexture(self._textures[layer.pattern])
        if not layer.solid:
            path.setBin("flat", order)
            path.setDepthTest(False)
            path.setDepthWrite(False)
            path.setTwoSided(True)

    def _aim(self, camera: Camera) -> None:
        from panda3d import core

        right, down, forward = camera.axes()
        self._lens.setFov(camera.field_degrees)
        self._lens.setNearFar(camera.near, camera.far)
        rows = [(*right, 0), (*forward, 0), (*-down, 0), (*camera.eye, 1)]  # rows: panda3d multiplies from the left
        self._camera.setMat(core.LMatrix4(*(float(value) for row in rows for value in row)))

    def _picture(self) -> UInt8[np.ndarray, "S S 3"]:
        """Average the pixels of each block, rounding half up."""
        side = self._size * OVERSAMPLING
        drawn = np.frombuffer(self._drawn.getRamImage(), np.uint8).reshape(side, side, -1)
        rows = np.zeros((self._size, side, drawn.shape[2]), np.uint16)
        for k in range(OVERSAMPLING):
            rows += drawn[k::OVERSAMPLING]
        total = np.zeros((self._size, self._size, drawn.shape[2]), np.uint16)
        for k in range(OVERSAMPLING):
            total += rows[:, k::OVERSAMPLING]
        mean = ((total + OVERSAMPLING**2 // 2) // OVERSAMPLING**2).astype(np.uint8)
        return np.ascontiguousarray(mean[::-1, :, 2::-1])  # drawn bottom up, as blue, green, red


def _geom(layer: Layer, form: "core.GeomVertexFormat") -> "core.Geom":
    from panda3d import core

    vertices = np.empty(len(layer.positions), np.dtype([("place", "<f4", 3), ("color", "u1", 4), ("uv", "<f4", 2)]))
    vertices["place"], vertices["uv"] = layer.positions, layer.places
    vertices["color"][:, :3] = np.minimum(np.round(layer.colors * 255) + 1, 255)  # patterns of 255 take one away
    vertices["color"][:, 3] = 255
    data = core.GeomVertexData("layer", form, core.Geom.UHStatic)
    data.uncleanSetNumRows(len(vertices))
    data.modifyArrayHandle(0).copyDataFrom(vertices.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.GeomEnums.NTUint16)
    indices = triangles.modifyVertices()
    indices.uncleanSetNumRows(layer.faces.size)
    indices.modifyHandle().copyDataFrom(layer.faces.astype("<u2").tobytes())
    geom = core.Geom(data)
    geom.addPrimitive(triangles)
    return geom


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
