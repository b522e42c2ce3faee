"""Sokoban: whether a level is well formed, and whether it can be solved, in how many pushes.

A* over the places of the boxes and the part of the floor that the player can reach. The bound on the pushes that remain
is the sum over boxes of the distance to the nearest goal, walls considered; from squares without such a distance no box
comes back, so that pushes onto them are never tried (Junghanns and Schaeffer, 2001).
"""

import heapq
from collections import deque
from collections.abc import Sequence

WALL, PLAYER, BOX, GOAL, FLOOR = "#", "@", "$", ".", " "
BOX_ON_GOAL, PLAYER_ON_GOAL = "*", "+"
NODES = 20_000


def well_formed(level: str) -> bool:
    """One player, at least one box, as many goals as boxes, and a wall around everything that can be reached."""
    players = level.count(PLAYER) + level.count(PLAYER_ON_GOAL)
    boxes = level.count(BOX) + level.count(BOX_ON_GOAL)
    goals = level.count(GOAL) + level.count(BOX_ON_GOAL) + level.count(PLAYER_ON_GOAL)
    lines = level.split("\n")
    closed = all(set(line) <= {WALL} for line in (lines[0], lines[-1]))
    closed = closed and all(line[:1] == line[-1:] == WALL for line in lines)
    return players == 1 and boxes == goals >= 1 and closed


def pushes(level: str, nodes: int = NODES) -> int | None:
    """Pushes of a shortest solution, None if there is none or none was found among so many positions."""
    lines = level.split("\n")
    width = max(map(len, lines)) + 1
    cells = {y * width + x: c for y, line in enumerate(lines) for x, c in enumerate(line)}
    free = {k for k, c in cells.items() if c != WALL}
    goals = frozenset(k for k, c in cells.items() if c in (GOAL, BOX_ON_GOAL, PLAYER_ON_GOAL))
    boxes = frozenset(k for k, c in cells.items() if c in (BOX, BOX_ON_GOAL))
    players = [k for k, c in cells.items() if c in (PLAYER, PLAYER_ON_GOAL)]
    if len(players) != 1 or len(boxes) != len(goals) or not boxes:
        return None
    moves = (1, -1, width, -width)
    far = distances(free, goals, moves)
    if any(box not in far for box in boxes):
        return None
    start = (boxes, reached(players[0], boxes, free, moves)[0])
    queue = [(sum(far[b] for b in boxes), 0, 0, start)]
    seen, count = {start: 0}, 0
    while queue and count < nodes:
        _, _, done, (boxes, player) = heapq.heappop(queue)
        if boxes == goals:
            return done
        if seen[boxes, player] < done:
            continue
        count += 1
        near = reached(player, boxes, free, moves)[1]
        for box in boxes:
            for move in moves:
                to = box + move
                if box - move not in near or to not in far or to in boxes:
                    continue
                after = boxes - {box} | {to}
                if frozen(to, after, free, goals, width):
                    continue
                state = (after, reached(box, after, free, moves)[0])
                if done + 1 < seen.get(state, 1 << 30):
                    seen[state] = done + 1
                    heapq.heappush(queue, (done + 1 + sum(far[b] for b in after), count, done + 1, state))
    return None


def distances(free: set[int], goals: frozenset[int], moves: Sequence[int]) -> dict[int, int]:
    """Pushes from each square to the nearest goal with no other box about: by pulling from the goals."""
    far = dict.fromkeys(goals, 0)
    queue = deque(goals)
    while queue:
        at = queue.popleft()
        for move in moves:
            if at + move in free and at + 2 * move in free and at + move not in far:
                far[at + move] = far[at] + 1
                queue.append(at + move)
    return far


def reached(player: int, boxes: frozenset[int], free: set[int], moves: Sequence[int]) -> tuple[int, set[int]]:
    """The least square that the player can walk to, as the name of the part of the floor, and all of them."""
    found, stack = {player}, [player]
    while stack:
        at = stack.pop()
        for move in moves:
            to = at + move
            if to in free and to not in boxes and to not in found:
                found.add(to)
                stack.append(to)
    return min(found), found


def frozen(box: int, boxes: frozenset[int], free: set[int], goals: frozenset[int], width: int) -> bool:
    """Whether a box is part of a square of four boxes and walls that are not all on goals."""
    for dx in (-1, 1):
        for dy in (-width, width):
            square = (box, box + dx, box + dy, box + dx + dy)
            if all(k in boxes or k not in free for k in square) and any(k in boxes and k not in goals for k in square):
                return True
    return False
