"""An integration with PyJWT and httpx. All that it is given is its bundle, in KEYGATE_BUNDLE."""

import base64
import json
import os
import sys
import time
import uuid

import httpx
import jwt


class Refused(Exception):
    """The gateway's own words."""

    def __init__(self, step: str, answer: httpx.Response) -> None:
        told = answer.json()
        super().__init__(f"{step} {answer.status_code} {told['name']}: {told['message']}")


class Integration:
    def __init__(self, bundle: str) -> None:
        self.bundle = json.loads(base64.b64decode(bundle, validate=True))
        self.http = httpx.Client(base_url=self.bundle["url"], headers={"Accept": "application/json"}, trust_env=False)
        self.tokens: dict = {}

    def exchange(self) -> None:
        claims = {
            "iat": int(time.time()),
            "jti": str(uuid.uuid4()),
            "appname": self.bundle["appname"],
            "appkey": self.bundle["appkey"],
            "shortname": self.bundle["shortname"],
        }
        assertion = jwt.encode(claims, self.bundle["sharedsecret"], algorithm="HS256")
        self.keep("exchange", self.http.post("/api/v1/auth/token", json={"jwt": assertion}))

    def refresh(self) -> None:
        form = {"refresh_token": self.tokens["refresh_token"]}
        self.keep("refresh", self.http.post("/api/auth/bearer/refresh", data=form))

    def keep(self, step: str, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            raise Refused(step, answer)
        self.tokens = answer.json()
        print(step, answer.status_code, self.tokens["scope"])

    def get(self, path: str) -> None:
        answer = self.http.get(path, headers={"Authorization": f"Bearer {self.tokens['access_token']}"})
        print("get", answer.status_code)


integration = Integration(os.environ["KEYGATE_BUNDLE"])
try:
    integration.exchange()
    integration.get("/x")
    integration.refresh()
    integration.get("/x")
except Refused as refused:
    print(refused)
    sys.exit(1)
