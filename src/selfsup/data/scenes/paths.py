"""How things and cameras move, in closed form: where each is at any moment, without steps that add up errors.

Lengths are world units, times seconds. All that moves slows down and comes to rest, as things do.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from selfsup.data.scenes.scene import Camera, Pair, Thing
from selfsup.data.scenes.shapes import Triple

GRAVITY = 9.81
"""World units per second squared: things are as large as if a unit were a metre."""
LEAST_HOP = 0.35
"""Speed at which what bounces no longer leaves the floor."""


def coasted(speed: float, slowing: float, seconds: float) -> float:
    """Give how far something has come that begins with a speed and slows down evenly until it stands."""
    moving = min(seconds, abs(speed) / slowing)
    return math.copysign(abs(speed) * moving - slowing * moving**2 / 2, speed)


@dataclass(frozen=True)
class Gliding:
    """Straight across the floor, sliding or rolling."""

    start: Pair
    toward_degrees: float
    speed: float
    slowing: float
    rolls: bool

    def at(self, thing: Thing, seconds: float) -> Thing:
        """Move a thing to where it is then; what rolls turns by its way over its radius."""
        way = coasted(self.speed, self.slowing, seconds)
        return _moved(thing, self.start, self.toward_degrees, way, self.rolls)


@dataclass(frozen=True)
class Bouncing:
    """Thrown or dropped; each bounce keeps a share of the speed upwards, and the last ones end in a glide."""

    start: Pair
    toward_degrees: float
    speed: float
    slowing: float  # on the floor, when the bouncing is over
    height: float
    rise: float  # speed upwards at first
    keeps: float
    rolls: bool

    def at(self, thing: Thing, seconds: float) -> Thing:
        """Move a thing to where it is then."""
        left, height, rise = seconds, self.height, self.rise
        while True:
            landing = math.sqrt(rise**2 + 2 * GRAVITY * height)
            flight = (rise + landing) / GRAVITY
            if left < flight:
                up = height + rise * left - GRAVITY * left**2 / 2
                way = self.speed * seconds
                break
            left, height, rise = left - flight, 0.0, landing * self.keeps
            if rise < LEAST_HOP:
                up = 0.0
                way = self.speed * (seconds - left) + coasted(self.speed, self.slowing, left)
                break
        return replace(_moved(thing, self.start, self.toward_degrees, way, self.rolls), height=up)


@dataclass(frozen=True)
class Spinning:
    """In one place, about the vertical."""

    degrees_per_second: float
    slowing: float

    def at(self, thing: Thing, seconds: float) -> Thing:
        """Turn a thing to where it is then."""
        return replace(thing, yaw_degrees=thing.yaw_degrees + coasted(self.degrees_per_second, self.slowing, seconds))


@dataclass(frozen=True)
class Meeting:
    """Straight across the floor to where it meets another, and from there on with another velocity."""

    place: Pair  # where it is when they meet
    seconds: float  # when they meet
    before: Pair  # velocities just before and just after
    after: Pair
    slowing: float
    rolls_toward_degrees: float | None  # None: it slides

    def at(self, thing: Thing, seconds: float) -> Thing:
        """Move a thing to where it is then."""
        since = seconds - self.seconds
        velocity = self.after if since >= 0 else self.before
        speed = math.hypot(*velocity)
        if since >= 0:
            way = coasted(speed, self.slowing, since)
        else:  # backwards in time it was faster; what stands was standing
            way = speed * since - self.slowing * since**2 / 2 if speed else 0.0
        share = way / speed if speed else 0.0
        gone = np.array(velocity) * share
        place = (self.place[0] + float(gone[0]), self.place[1] + float(gone[1]))
        if self.rolls_toward_degrees is None:
            return replace(thing, place=place)
        turn = math.degrees(float(gone @ _direction(self.rolls_toward_degrees)) / thing.half_height)
        return replace(thing, place=place, turn_degrees=turn, toward_degrees=self.rolls_toward_degrees)


Way = Gliding | Bouncing | Spinning | Meeting
"""Of one thing: `at` moves it to where it is then."""


def after_impact(
    one: Float[np.ndarray, " 2"],
    other: Float[np.ndarray, " 2"],
    masses: Pair,
    normal: Float[np.ndarray, " 2"],
    keeps: float,
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Give the velocities of two things after they met without friction between them; momentum is kept.

    Args:
        one: velocity of the first before.
        other: velocity of the second before.
        masses: of both.
        normal: unit vector from the first to the second.
        keeps: share of the speed along the normal, of one seen from the other, that is kept, turned round.
    """
    closing = float((one - other) @ normal)
    impulse = (1 + keeps) * closing * masses[0] * masses[1] / sum(masses)
    return one - impulse / masses[0] * normal, other + impulse / masses[1] * normal


@dataclass(frozen=True)
class Flight:
    """A camera that goes round a point, nearer or farther, and looks elsewhere; it slows down and stops."""

    around: Triple
    orbit_degrees: float
    farther: float  # distance at last over distance at first
    looks_away: Triple  # how far the point it looks at moves in all
    seconds: float  # until it stands

    def at(self, camera: Camera, seconds: float) -> Camera:
        """Move a camera to where it is then."""
        share = min(seconds / self.seconds, 1.0)
        done = share * (2 - share)
        angle = math.radians(self.orbit_degrees * done)
        c, s = math.cos(angle), math.sin(angle)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        middle = np.array(self.around)
        eye = middle + turn @ (np.array(camera.eye) - middle) * self.farther**done
        target = middle + turn @ (np.array(camera.target) - middle) + np.array(self.looks_away) * done
        return replace(camera, eye=_triple(eye), target=_triple(target))


def _moved(thing: Thing, start: Pair, toward_degrees: float, way: float, rolls: bool) -> Thing:
    x, y = _direction(toward_degrees) * way
    place = (start[0] + float(x), start[1] + float(y))
    if not rolls:
        return replace(thing, place=place)
    turn = math.degrees(way / thing.half_height)
    return replace(thing, place=place, turn_degrees=turn, toward_degrees=toward_degrees)


def _direction(degrees: float) -> Float[np.ndarray, " 2"]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def _triple(values: Float[np.ndarray, " 3"]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
