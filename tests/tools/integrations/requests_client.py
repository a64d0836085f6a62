"""An integration with PyJWT and requests. All that it is given is its bundle, in KEYGATE_BUNDLE."""

import base64
import datetime
import json
import os
import random
import sys

import jwt
import requests


class BearerAuth(requests.auth.AuthBase):
    """Exchanges the bundle for a token when there is none, and sends it with each request."""

    def __init__(self, bundle: dict) -> None:
        self.bundle = bundle
        self.tokens: dict | None = None
        self.session = requests.Session()
        self.session.trust_env = False

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.tokens is None:
            self.tokens = self.ask("exchange", "/api/v1/auth/token", json={"jwt": self.assertion()})
        request.headers["Authorization"] = "Bearer " + self.tokens["access_token"]
        return request

    def assertion(self) -> str:
        # PyJWT makes a number of a datetime; jti is any text that is not used twice.
        claims = {"iat": datetime.datetime.now(datetime.timezone.utc), "jti": str(random.randint(0, 10**12))}
        claims |= {name: self.bundle[name] for name in ("appname", "appkey", "shortname")}
        return jwt.encode(claims, self.bundle["sharedsecret"], algorithm="HS256")

    def refresh(self) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": self.tokens["refresh_token"]}
        self.tokens = self.ask("refresh", "/api/auth/bearer/refresh", data=form)

    def ask(self, step: str, path: str, **body: dict) -> dict:
        answer = self.session.post(self.bundle["url"] + path, **body)
        told = answer.json()
        if not answer.ok:
            print(f"{step} {answer.status_code} {told['name']}: {told['message']}")
            sys.exit(1)
        print(step, answer.status_code, told["scope"])
        return told


bundle = json.loads(base64.b64decode(os.environ["KEYGATE_BUNDLE"]))
auth = BearerAuth(bundle)
with requests.Session() as api:
    api.trust_env = False
    api.auth = auth
    print("get", api.get(bundle["url"] + "/x").status_code)
    auth.refresh()
    print("get", api.get(bundle["url"] + "/x").status_code)
