"""Which rungs are worth encoding: those that do not enlarge the source, from below, as far as the CPU budget carries."""


def plan(config, tick, ladder, source, memo):
    width, height, fps = source.width or 0, source.height or 0, source.fps or 30
    encode = []
    cost = 0
    reason = "every rung that does not enlarge"
    for rung in ladder:
        enlarges = (rung.width or 0) > width and (rung.height or 0) > height
        pixels = min(rung.width or 0, width) * min(rung.height or 0, height)
        own = pixels * min(fps, rung.fps or fps) / 1e6 * config["megapixel_cost"]
        is_affordable = source.cpu_budget is None or cost + own <= source.cpu_budget
        if not enlarges and not is_affordable:
            reason = "rungs were shed from the top for the CPU budget"
        keep = not enlarges and is_affordable
        if keep:
            cost += own
        encode.append(keep)
    # One is always encoded.
    if encode and not any(encode):
        encode[0] = True
    return {"passthrough": False, "encode": encode, "reason": reason}
