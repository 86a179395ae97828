import unittest

from policy import authorize


def ask(action, claims):
    request = {"action": action, "stream": "demo", "peer": "192.0.2.1", "claims": claims, "now_s": 0, "answered": None}
    return authorize({}, request)


class Policy(unittest.TestCase):
    def test_scopes_decide(self):
        self.assertTrue(ask("play", {"scope": "publish play:de*"})["allow"])
        self.assertEqual(ask("publish", {"scope": "play"})["status"], 403)
        self.assertEqual(ask("play", {})["status"], 401)


if __name__ == "__main__":
    unittest.main()
