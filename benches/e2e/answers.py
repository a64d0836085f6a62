"""Does a contestant do what it is measured at? Asked before anything is measured, over one kept connection.

A proxy that forwards the key, names the wrong client, or closes after a refusal would be fast at something else.
"""

import http.client

from rig import BODY, SEEN_PATH, BenchError


class Client:
    """One connection, which must stay the same."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.connect()
        self.socket = self.connection.sock

    def send(self, column, key, path=None):
        """A request of this column: (status, body)."""
        path = path or column.path
        fields = dict(column.fields) | ({"X-API-Key": key} if key else {})
        self.connection.request(column.method, path, body=b"x" * column.body or None, headers=fields)
        answer = self.connection.getresponse()
        body = answer.read().decode(errors="replace")
        if self.connection.sock is not self.socket:
            raise BenchError(f"the connection was closed after {answer.status} to {column.method} {path}")
        return answer.status, body


def expect(what, got, wanted):
    if got != wanted:
        raise BenchError(f"{what}: {got!r} where {wanted!r} was expected")


def check(contestant, rig, columns):
    """Raises BenchError unless it answers right. Returns {} or {"flipped_case_admitted": bool}."""
    client = Client(contestant.port)
    some = [rig.keys[0], rig.keys[len(rig.keys) // 2], rig.keys[-1]]
    columns = [column for column in columns if contestant.takes(column)]
    try:
        for column in columns:
            for key in some if column.admitted else ():
                expect(column.name, client.send(column, key.encoded), (200, BODY))
            values = column.values(rig)
            for value in () if column.admitted else (values[0], values[len(values) // 2], values[-1]):
                expect(column.name, client.send(column, value)[0], 401)
        gets = [column for column in columns if column.admitted and not column.body]
        for column in gets:
            fields = {name.lower(): value for name, value in column.fields}
            for key in some:
                status, seen = client.send(column, key.encoded, SEEN_PATH)
                wanted = f"id={key.id};key=" if contestant.checks_keys else f"id=;key={key.encoded}"
                wanted += f";authorization=;first={fields.get('user-agent', '')}"
                wanted += f";last={fields.get('sec-fetch-dest', '')}"
                expect("what the upstream was sent", (status, seen.strip()), (200, wanted))
        if not gets or not contestant.checks_keys:
            return {}
        flipped = next(flipped for flipped in map(lambda key: key.flipped(), rig.keys) if flipped)
        return {"flipped_case_admitted": client.send(gets[0], flipped)[0] == 200}
    except (BenchError, OSError, http.client.HTTPException) as error:
        raise BenchError(f"{contestant.label()} does not answer right: {error}") from error
    finally:
        client.connection.close()
