"""What schemathesis does not know of itself: that SDP and lines of JSON are text."""

import schemathesis

TEXT = ["application/sdp", "application/trickle-ice-sdpfrag", "application/x-ndjson"]
schemathesis.serializer.alias(TEXT, "text/plain")
