"""The columns of the comparison: what is sent, and to how many workers with which access log. Each becomes a table."""

import dataclasses

# The path of GET, and the one that POST goes to: there the upstream takes the whole body before it answers.
PATH, UPLOAD_PATH = "/v1/things/42", "/v1/uploads"

# What a browser sends beside Host: twelve fields, 510 bytes.
BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "application/json, text/plain, */*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://console.example.com/things?colour=blue&sort=updated"),
    ("Origin", "https://console.example.com"),
    ("Cookie", "session=9f8c1d3b7a5e4f60b2c4d6e8f0a1b3c5; theme=dark; consent=necessary"),
    ("Cache-Control", "no-cache"),
    ("DNT", "1"),
    ("Sec-Fetch-Site", "same-site"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
)

# Bodies that a load has ready, in all: with more it would wait for its own memory.
BODIES_IN_ALL = 4 << 20


@dataclasses.dataclass(frozen=True)
class Column:
    """`keys`: valid, none, forged or stale (made before the shared secret was regenerated). `body`: bytes, sent by
    POST. `without_log`: the column that one with the access log on is compared with."""

    name: str
    heading: str
    keys: str = "valid"
    fields: tuple = ()
    body: int = 0
    workers: int = 1
    without_log: str = ""

    @property
    def log(self):
        return bool(self.without_log)

    @property
    def admitted(self):
        return self.keys == "valid"

    @property
    def status(self):
        return 200 if self.admitted else 401

    @property
    def method(self):
        return "POST" if self.body else "GET"

    @property
    def path(self):
        return UPLOAD_PATH if self.body else PATH

    @property
    def base(self):
        """Whom ratios are to: bare pingora doing as little as it can of the same."""
        return "pingora" if self.admitted else "pingora-401"

    def values(self, rig):
        """What X-API-Key holds, one request after the other; None: the field is not sent."""
        keys = rig.keys[:max(1, BODIES_IN_ALL // self.body)] if self.body else rig.keys
        return {
            "valid": lambda: [key.encoded for key in keys],
            "none": lambda: [None],
            "forged": lambda: [key.forged() for key in keys],
            "stale": lambda: [key.encoded for key in rig.stale_keys],
        }[self.keys]()


COLUMNS = (
    Column("get", "GET, a valid key → 200"),
    Column("fields", "GET with 12 more header fields → 200", fields=BROWSER),
    Column("post-1k", "POST of 1 KiB → 200", body=1 << 10),
    Column("post-64k", "POST of 64 KiB → 200", body=64 << 10),
    Column("missing", "no key → 401, connection kept", keys="none"),
    Column("forged", "a forged key → 401, connection kept", keys="forged"),
    Column("stale", "a key from before the shared secret was regenerated → 401, connection kept", keys="stale"),
    Column("log", "GET, JSON access log on → 200", without_log="get"),
    Column("get-2", "GET, 2 workers → 200", workers=2),
    Column("missing-2", "no key, 2 workers → 401, connection kept", keys="none", workers=2),
)


def chosen(names):
    """The columns of a list with commas between, in the order of the report. ValueError names what there is."""
    wanted = names.split(",")
    unknown = set(wanted) - {column.name for column in COLUMNS}
    if unknown:
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(column.name for column in COLUMNS)}")
    return [column for column in COLUMNS if column.name in wanted]
