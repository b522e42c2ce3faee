"""Notes of a melody: from and to standard MIDI files, as tokens of a grid, and a small set of tunes made by rule.

A grid has a step per sixteenth; its tokens are 0 (rest), 1 (the note goes on) and 2 + pitch. Files are read as the
standard of 1996 has them (formats 0 and 1); where several notes sound, the highest is the melody.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pofx.core.errors import DataError

REST, HOLD, FIRST = 0, 1, 2
CLASSES = FIRST + 128
STEPS = 4  # of a quarter
TICKS = 480  # of a quarter, in files that are written
UNREADABLE = "is no MIDI file that can be read"
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (5, 3, 0, 4), (0, 4, 5, 3))
Note = tuple[int, int, int]  # first step, steps, pitch


def tokens_of(notes: Sequence[Note], steps: int) -> np.ndarray:
    """Notes as tokens int64 (steps,); of notes that sound together the highest."""
    grid = np.zeros(steps, np.int64)
    for start, length, pitch in sorted(notes, key=lambda note: (note[0], note[2])):
        if start < steps:
            grid[start : start + max(length, 1)] = HOLD
            grid[start] = FIRST + pitch
    return grid


def notes_of(grid: Sequence[int] | np.ndarray) -> list[Note]:
    """The notes of tokens; a note that goes on from nothing is a rest."""
    notes: list[Note] = []
    sounding = False
    for step, token in enumerate(np.asarray(grid).tolist()):
        if token >= FIRST:
            notes.append((step, 1, token - FIRST))
            sounding = True
        elif token == HOLD and sounding:
            start, length, pitch = notes[-1]
            notes[-1] = (start, length + 1, pitch)
        else:
            sounding = False
    return notes


def read_midi(path: Path) -> list[Note]:
    """The notes of a file, in sixteenths.

    Raises:
        DataError: no MIDI file, a damaged one, or one without notes.
    """
    data = path.read_bytes()
    try:
        if data[:4] != b"MThd":
            raise ValueError("it does not begin with MThd" if data else "it is empty")
        size, _, tracks, division = struct.unpack(">IHHH", data[4:14])
        if division & 0x8000 or division == 0:
            raise ValueError("its times are not in quarters")
        at, notes, found = 8 + size, [], 0
        while found < tracks and at + 8 <= len(data):  # other chunks lie between, and programs miscount tracks
            length = struct.unpack(">I", data[at + 4 : at + 8])[0]
            if at + 8 + length > len(data):
                raise ValueError("it is cut")
            if data[at : at + 4] == b"MTrk":
                notes += _track(data[at + 8 : at + 8 + length], division)
                found += 1
            at += 8 + length
    except (IndexError, struct.error):
        raise DataError(f"{path} {UNREADABLE} (it is cut): write it again, or leave it out") from None
    except ValueError as error:
        raise DataError(f"{path} {UNREADABLE} ({error}): write it again, or leave it out") from None
    if not notes:
        raise DataError(f"{path} has no notes: choose another file")
    return sorted(notes)


def _track(data: bytes, division: int) -> list[Note]:
    at, tick, status = 0, 0, 0
    sounding: dict[tuple[int, int], int] = {}
    notes: list[Note] = []

    def ended(begun: int, pitch: int) -> None:
        start, end = (round(t * STEPS / division) for t in (begun, tick))
        notes.append((start, max(end - start, 1), pitch))

    while at < len(data):
        delta, at = _variable(data, at)
        tick += delta
        if data[at] & 0x80:
            status, at = data[at], at + 1
        if status in (0xFF, 0xF0, 0xF7):
            at += status == 0xFF
            length, at = _variable(data, at)
            at += length
            continue
        kind, channel = status >> 4, status & 15
        if kind in (8, 9):
            pitch, velocity = data[at], data[at + 1]
            begun = sounding.pop((channel, pitch), None)
            if begun is not None and channel != 9:  # channel 9 is drums
                ended(begun, pitch)
            if kind == 9 and velocity:
                sounding[channel, pitch] = tick
        at += 1 if kind in (12, 13) else 2
    for (channel, pitch), begun in sounding.items():  # nothing ends them
        if channel != 9:
            ended(begun, pitch)
    return notes


def _variable(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for _ in range(4):
        byte, at = data[at], at + 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
    raise ValueError("a length has more than four bytes")


def midi(notes: Sequence[Note], beats_per_minute: int = 110) -> bytes:
    """Notes as the content of a MIDI file of one track."""
    unit = TICKS // STEPS
    events = [(start * unit, 0x90, pitch, 90) for start, _, pitch in notes]
    events += [((start + length) * unit, 0x80, pitch, 0) for start, length, pitch in notes]
    track = b"\x00\xff\x51\x03" + (60_000_000 // beats_per_minute).to_bytes(3, "big")
    now = 0
    for tick, status, pitch, velocity in sorted(events):
        track += _written(tick - now) + bytes((status, pitch, velocity))
        now = tick
    track += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


def _written(value: int) -> bytes:
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))


def tunes(n: int, bars: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tunes by rule: tokens int64 (n, 16 bars) and their modes (0 major, 1 minor).

    A bar follows a chord of a progression in a scale on C; strong beats are notes of the chord, the others steps of the
    scale; the last note is the tonic.
    """
    g = np.random.default_rng(seed)
    modes = g.integers(0, 2, n)
    found = np.zeros((n, 16 * bars), np.int64)
    for i, mode in enumerate(modes):
        scale = np.array(MINOR if mode else MAJOR)
        chords = PROGRESSIONS[g.integers(len(PROGRESSIONS))]
        degree, notes = 7 + int(g.integers(0, 5)), []
        for bar in range(bars):
            step = 0
            while step < 16:
                length = int(min(g.choice((2, 4, 6, 8), p=(0.4, 0.4, 0.1, 0.1)), 16 - step))
                if step % 8 == 0:
                    near = [d for d in range(4, 15) if (d - chords[bar % 4]) % 7 in (0, 2, 4)]
                    degree = min(near, key=lambda d: abs(d - degree) + 0.1 * g.random())
                else:
                    degree = int(np.clip(degree + g.choice((-2, -1, 1, 2), p=(0.1, 0.4, 0.4, 0.1)), 4, 14))
                if bar == bars - 1 and step + length >= 16:
                    degree = 7
                pitch = 48 + 12 * (degree // 7) + int(scale[degree % 7])
                notes.append((16 * bar + step, length, pitch))
                step += length
        found[i] = tokens_of(notes, 16 * bars)
    return found, modes
