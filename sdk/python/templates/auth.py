"""Who may enter: the scopes of the token decide.

A scope is an action, or an action and a stream: `play`, `play:demo`, `publish:team-*`; `admin` may do everything. What
raises an error denies.
"""


def authorize(config, request):
    if not request["claims"]:
        return {"deny": True, "status": 401, "reason": "no token"}
    scopes = request["claims"].get("scope")
    if not isinstance(scopes, str):
        return {"deny": True, "status": 403, "reason": "the token has no scopes"}
    if any(covers(scope, request) for scope in scopes.split(" ")):
        return {"allow": True, "ttl_s": 300}
    return {"deny": True, "status": 403, "reason": "no scope covers this"}


def covers(scope, request):
    kind, _, pattern = scope.partition(":")
    if kind == "admin":
        return True
    pattern = pattern or "*"
    if pattern.endswith("*"):
        is_covered = request["stream"].startswith(pattern[:-1])
    else:
        is_covered = pattern == request["stream"]
    return kind == request["action"] and is_covered
