"""Does a contestant do what it is measured at? Asked before anything is measured, over one kept connection.

A proxy that forwards the key, names the wrong client, or closes after a refusal would be fast at something else.
"""

import http.client

from rig import BODY, PATH, SEEN_PATH, BenchError


class Client:
    """One connection, which must stay the same."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.connect()
        self.socket = self.connection.sock

    def get(self, path, key=None):
        """(status, body)."""
        self.connection.request("GET", path, headers={"X-API-Key": key} if key else {})
        answer = self.connection.getresponse()
        body = answer.read().decode(errors="replace")
        if self.connection.sock is not self.socket:
            raise BenchError(f"the connection was closed after {answer.status} to GET {path}")
        return answer.status, body


def expect(what, got, wanted):
    if got != wanted:
        raise BenchError(f"{what}: {got!r} where {wanted!r} was expected")


def check(contestant, rig):
    """Raises BenchError unless it answers right. Returns {} or {"flipped_case_admitted": bool}."""
    client = Client(contestant.port)
    some = [rig.keys[0], rig.keys[len(rig.keys) // 2], rig.keys[-1]]
    try:
        if "admitted" in contestant.scenarios:
            for key in some:
                expect("a valid key", client.get(PATH, key.encoded), (200, BODY))
                status, seen = client.get(SEEN_PATH, key.encoded)
                wanted = f"id={key.id};key=" if contestant.checks_keys else f"id=;key={key.encoded}"
                expect("what the upstream was sent", (status, seen.strip()), (200, f"{wanted};authorization="))
        if "missing" in contestant.scenarios:
            for _ in range(3):
                expect("no key", client.get(PATH)[0], 401)
        if "forged" in contestant.scenarios:
            for key in some:
                expect("a forged key", client.get(PATH, key.forged())[0], 401)
        if "admitted" in contestant.scenarios and "missing" in contestant.scenarios:
            expect("a valid key after refusals", client.get(PATH, some[0].encoded), (200, BODY))
            flipped = next(flipped for flipped in map(lambda key: key.flipped(), rig.keys) if flipped)
            return {"flipped_case_admitted": client.get(PATH, flipped)[0] == 200}
        return {}
    except (BenchError, OSError, http.client.HTTPException) as error:
        raise BenchError(f"{contestant.label()} does not answer right: {error}") from error
    finally:
        client.connection.close()
