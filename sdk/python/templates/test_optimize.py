import unittest
from pathlib import Path

import policy
from lockgate_policy import Glue, manifest_of

GLUE = Glue(manifest_of(Path(__file__).parent), policy)
RUNGS = [{"need_kbps": 600}, {"need_kbps": 1000}, {"need_kbps": 2500}]


class Policy(unittest.TestCase):
    def test_a_narrow_link_is_saved_on_and_a_good_one_hardly(self):
        rows = [{"bandwidth_kbps": 300, "loss_pct": 5}, {"bandwidth_kbps": 9000}]
        narrow, good = GLUE.ask("optimize", rows, RUNGS)
        self.assertEqual((narrow["level"], narrow["fec"], narrow["reason"]), (2, 1, "a very narrow link"))
        self.assertEqual((good["level"], good["fec"], good["reason"]), (0, 0, "a good link"))


if __name__ == "__main__":
    unittest.main()
