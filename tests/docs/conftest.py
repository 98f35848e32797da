"""The site's own extensions can be imported."""

import sys

from tests.docs.examples import ROOT

sys.path.insert(0, str(ROOT / "docs/_ext"))
