"""Which rung a viewer gets: the highest that fits the bandwidth with a factor by buffer.

Down at once, up one step after a higher rung has fitted for a while. memo[0]: since when it has, in ms.
"""


def recommend(config, tick, ladder, viewer, memo):
    since = memo[0] if memo[0] is not None else tick.now_ms
    memo[0] = None
    if len(ladder) == 0:
        return {"rung": None, "reason": "there is no rung"}
    current = viewer.current
    current = int(current) if current is not None and 0 <= current < len(ladder) else None
    if viewer.bandwidth_kbps is None:
        start = ladder.highest_within(config["start_kbps"]) or 0
        return {"rung": start if current is None else current, "reason": "bandwidth not known yet"}
    arriving = 1 - min(max(viewer.loss_pct or 0, 0), 100) / 100
    buffer_s = viewer.buffer_s
    factor = 0.8 if buffer_s is None or buffer_s >= 5 else 0.7 if buffer_s >= 2 else 0.5
    fits = ladder.highest_within(viewer.bandwidth_kbps * arriving * factor) or 0
    if current is None:
        return {"rung": fits, "reason": "start: the highest that fits"}
    if fits < current:
        return {"rung": fits, "reason": "down: the link carries less"}
    if fits == current:
        return {"rung": current, "reason": "hold: this is what fits"}
    if tick.now_ms - since < config["up_after_s"] * 1000:
        memo[0] = since
        return {"rung": current, "reason": "wait: a higher rung fits, but not for long enough"}
    memo[0] = tick.now_ms
    return {"rung": current + 1, "reason": "up: a higher rung has fitted for long enough"}
